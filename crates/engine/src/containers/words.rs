//! A container's status in words: Docker's, and the reason of an end behind
//! them.

use state::{ExitRecord, ExitStatus, HealthStatus, Status, Timestamp};

use super::list::human;
use crate::parse::signal_name;

/// Docker's word for a status.
pub(super) fn state_word(status: &Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running { .. } => "running",
        Status::Paused { .. } => "paused",
        Status::Restarting(_) => "restarting",
        Status::Suspended(_) => "suspended",
        Status::Exited(_) => "exited",
    }
}

/// As `Up 5 minutes (healthy)` or `Exited (0) 2 hours ago`.
pub(super) fn status_text(status: &Status, health: Option<HealthStatus>, now: Timestamp) -> String {
    let up = |since: Timestamp| format!("Up {}", human(now.since(since)));
    let ended = |exit: &ExitRecord| {
        let ago = human(now.since(exit.finished));
        format!("({}) {ago} ago{}", exit.status.code(), reason(exit))
    };
    match status {
        Status::Created => "Created".to_owned(),
        Status::Running { since } => match health {
            None => up(*since),
            Some(HealthStatus::Starting) => format!("{} (health: starting)", up(*since)),
            Some(health) => format!("{} ({})", up(*since), health.word()),
        },
        Status::Paused { since } => format!("{} (Paused)", up(*since)),
        Status::Restarting(last) => format!("Restarting {}", ended(last)),
        Status::Suspended(record) => format!(
            "Suspended ({}) {} ago",
            in_words(record.memory.size),
            human(now.since(record.at))
        ),
        Status::Exited(exit) => format!("Exited {}", ended(exit)),
    }
}

/// What Docker leaves to guess from a number; empty if a program just ended.
pub(super) fn reason(exit: &ExitRecord) -> String {
    if let Some(error) = &exit.error {
        return format!(", not started again: {error}");
    }
    let limit = exit
        .memory_limit
        .map(|bytes| format!(" at {}", in_words(bytes)))
        .unwrap_or_default();
    match exit.status {
        ExitStatus::Signal(9) if exit.out_of_memory => format!(", OOM-killed{limit}"),
        _ if exit.checkpointed => ", checkpointed".to_owned(),
        _ if exit.out_of_memory => format!(", a process was OOM-killed{limit}"),
        ExitStatus::Signal(number) => format!(", killed by {}", signal_name(number)),
        ExitStatus::Unknown => ", its end was not seen".to_owned(),
        ExitStatus::Code(_) => String::new(),
    }
}

/// As people set limits: `64 MiB`, `1.5 GiB`.
fn in_words(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in units {
        if bytes >= 1 << shift {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                tenth => format!("{}.{tenth} {unit}", tenths / 10),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_why_it_ended() {
        let now = Timestamp::from_nanos(5_000_000_000);
        let exit = |status, out_of_memory| ExitRecord {
            status,
            out_of_memory,
            memory_limit: out_of_memory.then_some(64 << 20),
            ..ExitRecord::unseen(None, Timestamp::from_nanos(0))
        };
        for (record, words) in [
            (exit(ExitStatus::Code(3), false), "Exited (3) 5 seconds ago"),
            (
                exit(ExitStatus::Signal(9), true),
                "Exited (137) 5 seconds ago, OOM-killed at 64 MiB",
            ),
            (
                exit(ExitStatus::Code(1), true),
                "Exited (1) 5 seconds ago, a process was OOM-killed at 64 MiB",
            ),
            (
                exit(ExitStatus::Signal(15), false),
                "Exited (143) 5 seconds ago, killed by SIGTERM",
            ),
            (
                exit(ExitStatus::Unknown, false),
                "Exited (255) 5 seconds ago, its end was not seen",
            ),
        ] {
            assert_eq!(status_text(&Status::Exited(record), None, now), words);
        }
        let since = Timestamp::from_nanos(0);
        for (health, words) in [
            (None, "Up 5 seconds"),
            (
                Some(HealthStatus::Starting),
                "Up 5 seconds (health: starting)",
            ),
            (Some(HealthStatus::Unhealthy), "Up 5 seconds (unhealthy)"),
        ] {
            assert_eq!(status_text(&Status::Running { since }, health, now), words);
        }
    }

    #[test]
    fn limits_are_told_as_they_are_set() {
        for (bytes, words) in [
            (64 << 20, "64 MiB"),
            (3 << 29, "1.5 GiB"),
            (6_500_352, "6.1 MiB"),
            (100, "100 bytes"),
        ] {
            assert_eq!(in_words(bytes), words);
        }
    }
}
