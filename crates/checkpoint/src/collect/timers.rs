//! Timers of setitimer(2) and timer_create(2).

use crate::image::schema::Timer;
use crate::inject::{Arg, Outcome, Place, Program};
use crate::procfs;

const GETITIMER: u32 = 36;
const TIMER_GETTIME: u32 = 224;

#[derive(Debug, Default)]
pub(super) struct Asked {
    intervals: Vec<Place>,
    timers: Vec<(Timer, Place)>,
}

pub(super) fn ask(pid: i32, program: &mut Program) -> Asked {
    let mut asked = Asked::default();
    for which in 0..3 {
        let place = program.room(32);
        program.call("read a timer", GETITIMER, &[Arg::from(which), place.into()]);
        asked.intervals.push(place);
    }
    let text = procfs::text(&format!("/proc/{pid}/timers")).unwrap_or_default();
    for timer in parse(&text) {
        let place = program.room(32);
        program.call(
            "read a timer",
            TIMER_GETTIME,
            &[Arg::from(timer.id), place.into()],
        );
        asked.timers.push((timer, place));
    }
    asked
}

impl Asked {
    /// Interval and value in microseconds.
    pub(super) fn intervals(&self, outcome: &Outcome) -> Vec<(u64, u64)> {
        let time = |place: &Place, index: usize| {
            outcome.number(*place, index) * 1_000_000 + outcome.number(*place, index + 1)
        };
        self.intervals
            .iter()
            .map(|place| (time(place, 0), time(place, 2)))
            .collect()
    }

    pub(super) fn timers(self, outcome: &Outcome) -> Vec<Timer> {
        let time = |place: Place, index: usize| {
            outcome.number(place, index) * 1_000_000_000 + outcome.number(place, index + 1)
        };
        self.timers
            .into_iter()
            .map(|(mut timer, place)| {
                timer.interval = time(place, 0);
                timer.due = time(place, 2);
                timer
            })
            .collect()
    }
}

/// ```text
/// ID: 1
/// signal: 60/00007fff86e452a8
/// notify: signal/pid.2634
/// ClockID: 0
/// ```
fn parse(text: &str) -> Vec<Timer> {
    let mut all: Vec<Timer> = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if name == "ID" {
            all.push(Timer {
                id: value.parse().unwrap_or(-1),
                clock: 0,
                notify: 0,
                signal: 0,
                value: 0,
                thread: 0,
                due: 0,
                interval: 0,
            });
            continue;
        }
        let Some(timer) = all.last_mut() else {
            continue;
        };
        match name {
            "signal" => {
                let (signal, data) = value.split_once('/').unwrap_or((value, "0"));
                timer.signal = signal.parse().unwrap_or(0);
                timer.value = u64::from_str_radix(data, 16).unwrap_or(0);
            }
            "notify" => {
                let (how, who) = value.split_once('/').unwrap_or((value, ""));
                let (kind, thread) = who.split_once('.').unwrap_or((who, "0"));
                timer.notify = i32::from(how == "none");
                if kind == "tid" {
                    timer.notify |= 4;
                    timer.thread = thread.parse().unwrap_or(0);
                }
            }
            "ClockID" => timer.clock = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn understands_the_kernels_list() {
        let text = "ID: 3\nsignal: 34/000000000000002a\nnotify: signal/tid.7\nClockID: 1\n";
        let timers = super::parse(text);
        assert_eq!(timers.len(), 1);
        let timer = timers[0];
        assert_eq!((timer.id, timer.signal, timer.value), (3, 34, 42));
        assert_eq!((timer.notify, timer.thread, timer.clock), (4, 7, 1));
    }
}
