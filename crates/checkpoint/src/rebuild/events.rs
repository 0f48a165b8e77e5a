//! eventfd, timerfd, signalfd, pidfd.

use super::pool::OPENED;
use crate::image::schema::TimerDescriptor;
use crate::inject::Program;

const WRITE: u32 = 1;
const IOCTL: u32 = 16;
const TIMERFD_CREATE: u32 = 283;
const TIMERFD_SETTIME: u32 = 286;
const SIGNALFD4: u32 = 289;
const EVENTFD2: u32 = 290;
const PIDFD_OPEN: u32 = 434;
const O_NONBLOCK: u32 = 0o4000;
const TFD_IOC_SET_TICKS: u32 = 0x4008_5400;
const NANO: u64 = 1_000_000_000;

pub(super) fn event(program: &mut Program, count: u64, semaphore: bool, flags: u32) {
    let flags = flags & O_NONBLOCK | u32::from(semaphore);
    program.call("make an eventfd", EVENTFD2, &[0.into(), flags.into()]);
    if count > 0 {
        let count = program.data(&count.to_le_bytes());
        program.call(
            "count an event",
            WRITE,
            &[OPENED.into(), count.into(), 8.into()],
        );
    }
}

pub(super) fn timer(program: &mut Program, timer: &TimerDescriptor, flags: u32) {
    let flags = flags & O_NONBLOCK;
    program.call(
        "make a timerfd",
        TIMERFD_CREATE,
        &[timer.clock.into(), flags.into()],
    );
    let parts = [timer.interval, timer.value];
    let time: Vec<u8> = parts
        .iter()
        .flat_map(|nanoseconds| [nanoseconds / NANO, nanoseconds % NANO])
        .flat_map(u64::to_le_bytes)
        .collect();
    let time = program.data(&time);
    // What is left is counted from now on.
    program.call(
        "set a timerfd",
        TIMERFD_SETTIME,
        &[OPENED.into(), 0.into(), time.into(), 0.into()],
    );
    if timer.ticks > 0 {
        let ticks = program.data(&timer.ticks.to_le_bytes());
        let arguments = [OPENED.into(), TFD_IOC_SET_TICKS.into(), ticks.into()];
        program.call("count the ticks of a timerfd", IOCTL, &arguments);
    }
}

pub(super) fn signals(program: &mut Program, mask: u64, flags: u32) {
    let mask = program.data(&mask.to_le_bytes());
    let flags = flags & O_NONBLOCK;
    let arguments = [(-1).into(), mask.into(), 8.into(), flags.into()];
    program.call("make a signalfd", SIGNALFD4, &arguments);
}

pub(super) fn process(program: &mut Program, pid: i32, flags: u32) {
    let flags = flags & O_NONBLOCK;
    program.call("open a process", PIDFD_OPEN, &[pid.into(), flags.into()]);
}
