//! Sizes and times as people read them, in Docker's words.

use std::time::Duration;

/// Bytes with three digits that count, in powers of 1000: `1.23GB`.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, 1000, 3, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Bytes in powers of 1024: `7.61GiB`, as Docker shows memory.
pub(crate) fn memory(bytes: u64) -> String {
    scaled(bytes, 1024, 3, BINARY)
}

/// The same with four digits, as `docker stats` has it.
pub(crate) fn precise_memory(bytes: u64) -> String {
    scaled(bytes, 1024, 4, BINARY)
}

const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

fn scaled(bytes: u64, base: u64, precision: usize, units: [&str; 7]) -> String {
    #[allow(clippy::cast_precision_loss)] // three digits are shown
    let mut rest = bytes as f64;
    #[allow(clippy::cast_precision_loss)]
    let base = base as f64;
    let mut unit = 0;
    // 999.6 would be shown as 1000.
    while rest >= if unit == 0 { base } else { base.min(999.5) } && unit + 1 < units.len() {
        rest /= base;
        unit += 1;
    }
    // So many digits in all, those before the point included.
    let digits = match rest {
        ..9.995 => precision - 1,
        ..99.95 => precision - 2,
        _ => precision - 3,
    };
    let text = format!("{rest:.digits$}");
    let text = match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
        None => &text,
    };
    format!("{text}{}", units[unit])
}

/// `3 minutes`, `About an hour`, `2 weeks`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".into(),
        (1, ..) => "1 second".into(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".into(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `3 minutes ago`.
pub(crate) fn ago(past: Duration) -> String {
    duration(past) + " ago"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_shows_them() {
        for (bytes, expected) in [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_200, "1.2kB"),
            (44_000, "44kB"),
            (7_340_032, "7.34MB"),
            (117_000_000, "117MB"),
            (999_400, "999kB"),
            (999_600, "1MB"),
            (1_234_567_890, "1.23GB"),
            (9_999, "10kB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
        assert_eq!(memory(8_169_082_880), "7.61GiB");
        assert_eq!(memory(1024), "1KiB");
        assert_eq!(precise_memory(8_169_082_880), "7.608GiB");
        assert_eq!(precise_memory(512 << 20), "512MiB");
    }

    #[test]
    fn durations_as_docker_says_them() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86_400, "13 days"),
            (14 * 86_400, "2 weeks"),
            (59 * 86_400, "8 weeks"),
            (60 * 86_400, "2 months"),
            (729 * 86_400, "24 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(
                duration(Duration::from_secs(seconds)),
                expected,
                "{seconds}"
            );
        }
        assert_eq!(ago(Duration::from_secs(5)), "5 seconds ago");
    }
}
