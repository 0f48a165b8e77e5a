//! What belongs to all threads of a process.

use sys::{Context as _, Result};

use super::pool::OPENED;
use super::{Puppet, signals};
use crate::image::schema::{Clocks, Process};
use crate::inject::Program;

const CLOSE: u32 = 3;
const WRITE: u32 = 1;
const CHDIR: u32 = 80;
const UMASK: u32 = 95;
const PERSONALITY: u32 = 135;
const PRCTL: u32 = 157;
const CHROOT: u32 = 161;
const OPENAT: u32 = 257;
const UNSHARE: u32 = 272;
const SETNS: u32 = 308;
const MEMBARRIER: u32 = 324;
/// `MEMBARRIER_CMD_REGISTER_*`: global, private, for code and for rseq.
const BARRIERS: [u32; 4] = [1 << 2, 1 << 4, 1 << 6, 1 << 8];
const AT_FDCWD: i32 = -100;
const O_WRONLY: u32 = 1;
const CLONE_NEWTIME: u64 = 0x80;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_SET_THP_DISABLE: i32 = 41;

/// Makes a time namespace in which the clocks go on where they stopped, and
/// enters it; the tree is born into it.
pub(super) fn continue_clocks(puppet: &Puppet, clocks: Clocks) -> Result<()> {
    const NANO: i64 = 1_000_000_000;
    let now = |id| {
        let now = rustix::time::clock_gettime(id);
        now.tv_sec * NANO + now.tv_nsec
    };
    let line = |name: &str, saved: i64, now: i64| {
        let offset = saved - now;
        format!(
            "{name} {} {}\n",
            offset.div_euclid(NANO),
            offset.rem_euclid(NANO)
        )
    };
    let offsets = [
        line(
            "monotonic",
            clocks.monotonic,
            now(rustix::time::ClockId::Monotonic),
        ),
        line(
            "boottime",
            clocks.boottime,
            now(rustix::time::ClockId::Boottime),
        ),
    ]
    .concat();
    let mut program = Program::default();
    program.call("make a time namespace", UNSHARE, &[CLONE_NEWTIME.into()]);
    let path = program.text(b"/proc/self/timens_offsets");
    let text = program.data(offsets.as_bytes());
    program.call(
        "open /proc/self/timens_offsets",
        OPENAT,
        &[AT_FDCWD.into(), path.into(), O_WRONLY.into(), 0.into()],
    );
    program.call(
        "set the clocks",
        WRITE,
        &[OPENED.into(), text.into(), (offsets.len() as u64).into()],
    );
    program.call("close a descriptor", CLOSE, &[OPENED.into()]);
    let path = program.text(b"/proc/self/ns/time_for_children");
    program.call(
        "open the time namespace",
        OPENAT,
        &[AT_FDCWD.into(), path.into(), 0.into(), 0.into()],
    );
    program.call(
        "enter the time namespace",
        SETNS,
        &[OPENED.into(), CLONE_NEWTIME.into()],
    );
    program.call("close a descriptor", CLOSE, &[OPENED.into()]);
    puppet.run(&program).context(|| "continue the clocks")?;
    Ok(())
}

pub(super) fn set(program: &mut Program, what: &Process) {
    if what.root != "/" {
        let root = program.text(what.root.as_bytes());
        program.call(
            format!("change the root to {}", what.root),
            CHROOT,
            &[root.into()],
        );
    }
    // As the process itself sees it.
    let directory = what
        .directory
        .strip_prefix(&what.root)
        .unwrap_or(&what.directory);
    let directory = format!("/{}", directory.trim_start_matches('/'));
    let path = program.text(directory.as_bytes());
    program.call(
        format!("enter directory {directory}"),
        CHDIR,
        &[path.into()],
    );
    program.call("set the umask", UMASK, &[what.umask.into()]);
    program.call(
        "set the personality",
        PERSONALITY,
        &[what.personality.into()],
    );
    program.call(
        "be a subreaper",
        PRCTL,
        &[
            PR_SET_CHILD_SUBREAPER.into(),
            u32::from(what.is_subreaper).into(),
        ],
    );
    if what.no_thp {
        program.call(
            "turn huge pages off",
            PRCTL,
            &[
                PR_SET_THP_DISABLE.into(),
                1.into(),
                0.into(),
                0.into(),
                0.into(),
            ],
        );
    }
    for barrier in BARRIERS {
        if what.barriers & barrier != 0 {
            program.attempt(MEMBARRIER, &[barrier.into(), 0.into(), 0.into()]);
        }
    }
    signals::set_actions(program, &what.actions);
}

/// Before the descriptors are handed out. Lowering it may be forbidden; it
/// stays where the sandbox put it then.
pub(super) fn oom_score(program: &mut Program, score: i32) {
    let path = program.text(b"/proc/self/oom_score_adj");
    let text = score.to_string();
    let bytes = program.data(text.as_bytes());
    let arguments = [AT_FDCWD.into(), path.into(), O_WRONLY.into(), 0.into()];
    program.attempt(OPENAT, &arguments);
    let length = text.len() as u64;
    program.attempt(WRITE, &[OPENED.into(), bytes.into(), length.into()]);
    program.attempt(CLOSE, &[OPENED.into()]);
}
