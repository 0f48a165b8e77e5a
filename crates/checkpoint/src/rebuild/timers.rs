//! Timers of setitimer(2) and timer_create(2).

use crate::image::schema::{Process, Timer};
use crate::inject::Program;

const SETITIMER: u32 = 38;
const ITIMER_REAL: usize = 0;
const PRCTL: u32 = 157;
const TIMER_CREATE: u32 = 222;
const TIMER_SETTIME: u32 = 223;
const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
const MICRO: u64 = 1_000_000;
const NANO: u64 = 1_000_000_000;

pub(super) fn set(program: &mut Program, what: &Process) {
    for (which, (interval, value)) in what.interval_timers.iter().enumerate() {
        // The kernel winds the timer of real time up again when its signal is
        // taken: while that waits, there is an interval and nothing is due.
        // The signal is restored; the next one is due an interval from now.
        let due = if *value == 0 && which == ITIMER_REAL {
            interval
        } else {
            value
        };
        if *due == 0 {
            continue;
        }
        let time = [interval / MICRO, interval % MICRO, due / MICRO, due % MICRO];
        let time = program.data(&time.map(u64::to_le_bytes).concat());
        program.call(
            "set a timer",
            SETITIMER,
            &[(which as u64).into(), time.into(), 0.into()],
        );
    }
    if what.timers.is_empty() {
        return;
    }
    // Linux 6.15: the number is taken from where the new one is returned.
    program.call(
        "choose timer numbers",
        PRCTL,
        &[
            PR_TIMER_CREATE_RESTORE_IDS.into(),
            1.into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    );
    for timer in &what.timers {
        create(program, timer);
    }
    program.call(
        "choose timer numbers no more",
        PRCTL,
        &[
            PR_TIMER_CREATE_RESTORE_IDS.into(),
            0.into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    );
}

fn create(program: &mut Program, timer: &Timer) {
    // struct sigevent
    let mut event = vec![0; 64];
    event[0..8].copy_from_slice(&timer.value.to_le_bytes());
    event[8..12].copy_from_slice(&timer.signal.to_le_bytes());
    event[12..16].copy_from_slice(&timer.notify.to_le_bytes());
    event[16..20].copy_from_slice(&timer.thread.to_le_bytes());
    let event = program.data(&event);
    let id = program.data(&timer.id.to_le_bytes());
    program.call(
        "make a timer",
        TIMER_CREATE,
        &[timer.clock.into(), event.into(), id.into()],
    );
    if timer.due == 0 {
        return;
    }
    let time = [
        timer.interval / NANO,
        timer.interval % NANO,
        timer.due / NANO,
        timer.due % NANO,
    ];
    let time = program.data(&time.map(u64::to_le_bytes).concat());
    program.call(
        "set a timer",
        TIMER_SETTIME,
        &[timer.id.into(), 0.into(), time.into(), 0.into()],
    );
}
