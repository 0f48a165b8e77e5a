//! Who a thread is and what it may do: as it was, within the bounds of the
//! specification that it is restored under.

use runtime::Bounds;
use sys::seccomp::Instruction;
use sys::{Error, ErrorKind, Result};

use crate::image::schema::Thread;
use crate::image::{pack, unpack};
use crate::inject::{Arg, Outcome, Program};

const WRITE: u32 = 1;
const CLOSE: u32 = 3;
const OPENAT: u32 = 257;
const AT_FDCWD: i32 = -100;
const O_WRONLY: u32 = 1;
const O_CLOEXEC: u32 = 0o2_000_000;
const SETREGID: u32 = 119;
const SETGROUPS: u32 = 116;
const SETRESUID: u32 = 117;
const SETFSUID: u32 = 122;
const SETFSGID: u32 = 123;
const CAPSET: u32 = 126;
const PRCTL: u32 = 157;
const SECCOMP: u32 = 317;
const PR_CAPBSET_DROP: i32 = 24;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_CAP_AMBIENT: i32 = 47;
const PR_CAP_AMBIENT_RAISE: i32 = 2;
const SECCOMP_SET_MODE_FILTER: u32 = 1;
/// Capabilities survive a change of ids, and every change at all.
const SECBIT_KEEP_CAPS: u32 = 1 << 4;
const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const CAP_SETUID: u64 = 1 << 7;
const LAST_CAPABILITY: u64 = 40;

/// Adds the becoming; nothing that needs rights may come after it.
pub(super) fn become_again(program: &mut Program, thread: &Thread, bounds: &Bounds) -> Result<()> {
    let who = &thread.credentials;
    verify(thread, bounds)?;
    let within = bounds.capabilities.0;
    let (permitted, effective) = (who.permitted & within, who.effective & within);
    let inheritable = who.inheritable & within;
    for capability in 0..=LAST_CAPABILITY {
        if who.bounding & within & (1 << capability) == 0 {
            let arguments = [PR_CAPBSET_DROP.into(), capability.into()];
            program.attempt(PRCTL, &arguments);
        }
    }
    let keep = SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP;
    program.call(
        "keep capabilities",
        PRCTL,
        &[PR_SET_SECUREBITS.into(), keep.into()],
    );
    let groups: Vec<u8> = who
        .groups
        .iter()
        .flat_map(|gid| gid.to_le_bytes())
        .collect();
    let groups = program.data(&groups);
    let count = who.groups.len() as u64;
    program.call("set groups", SETGROUPS, &[count.into(), groups.into()]);
    let three = |ids: [u32; 4]| [Arg::from(ids[0]), ids[1].into(), ids[2].into()];
    program.call("set the group", SETREGID, &three(who.gids));
    program.attempt(SETFSGID, &[who.gids[3].into()]);
    program.call("set the user", SETRESUID, &three(who.uids));
    program.attempt(SETFSUID, &[who.uids[3].into()]);
    if who.no_new_privileges || bounds.no_new_privileges {
        let arguments = [
            PR_SET_NO_NEW_PRIVS.into(),
            1.into(),
            0.into(),
            0.into(),
            0.into(),
        ];
        program.call("set no_new_privs", PRCTL, &arguments);
    }
    // Without no_new_privs loading needs rights that go with the next step.
    // None is in force before we let go of the thread.
    if let Some((filter, flags)) = &bounds.filter {
        load(program, filter, *flags);
    }
    for (index, filter) in thread.filters.iter().enumerate() {
        let filter: Vec<Instruction> = filter.iter().map(|packed| unpack(*packed)).collect();
        // The oldest is the specification's own, unless that is another one
        // now: then both hold.
        let is_there = bounds
            .filter
            .as_ref()
            .is_some_and(|(own, _)| *own == filter);
        if index > 0 || !is_there {
            load(program, &filter, 0);
        }
    }
    let bits = who.secure_bits;
    program.call(
        "set secure bits",
        PRCTL,
        &[PR_SET_SECUREBITS.into(), bits.into()],
    );
    let mut header = CAPABILITY_VERSION.to_le_bytes().to_vec();
    header.extend_from_slice(&[0; 4]);
    let header = program.data(&header);
    let sets = [effective, permitted, inheritable];
    let half = |shift: u32| sets.map(|set| (set >> shift).to_le_bytes());
    let halves = [half(0), half(32)];
    let data: Vec<u8> = halves
        .iter()
        .flatten()
        .flat_map(|bytes| bytes[..4].to_vec())
        .collect();
    let data = program.data(&data);
    program.call("set capabilities", CAPSET, &[header.into(), data.into()]);
    for capability in 0..=LAST_CAPABILITY {
        if who.ambient & permitted & inheritable & (1 << capability) != 0 {
            program.call(
                "set ambient capabilities",
                PRCTL,
                &[
                    PR_CAP_AMBIENT.into(),
                    PR_CAP_AMBIENT_RAISE.into(),
                    capability.into(),
                    0.into(),
                    0.into(),
                ],
            );
        }
    }
    Ok(())
}

/// Puts a thread under the AppArmor profile of its container, which others get
/// when they execute their program. The last that it does for us: the profile
/// need not allow more than what the program does.
pub(super) fn confine(run: impl Fn(&Program) -> Result<Outcome>, bounds: &Bounds) -> Result<()> {
    let Some(profile) = &bounds.apparmor else {
        return Ok(());
    };
    // A file of AppArmor's own where modules are stacked (Linux 5.8). Nobody
    // else may have opened it: the kernel compares who did with who writes.
    let mut program = Program::default();
    let paths = ["apparmor/current", "current"];
    let tries = paths.map(|name| {
        let path = program.text(format!("/proc/thread-self/attr/{name}").as_bytes());
        let arguments = [AT_FDCWD.into(), path.into(), (O_WRONLY | O_CLOEXEC).into()];
        program.attempt(OPENAT, &arguments)
    });
    let opened = run(&program)?;
    let found = tries.map(|index| opened.result(index));
    let Some(first) = found.into_iter().find(|result| *result >= 0) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("AppArmor profile {profile}: the container has no /proc to set it through"),
        ));
    };
    let mut program = Program::default();
    let text = format!("changeprofile {profile}");
    let length = text.len() as u64;
    let text = program.data(text.as_bytes());
    let file = |result: i64| Arg::from(result.cast_unsigned());
    program.call(
        format!("run as AppArmor profile {profile}"),
        WRITE,
        &[file(first), text.into(), length.into()],
    );
    for other in found.into_iter().filter(|result| *result >= 0) {
        program.call("close a file", CLOSE, &[file(other)]);
    }
    run(&program).map(drop)
}

/// A specification that lets nobody become somebody else is held to.
fn verify(thread: &Thread, bounds: &Bounds) -> Result<()> {
    let may_change =
        bounds.uid == 0 || !bounds.no_new_privileges || bounds.capabilities.0 & CAP_SETUID != 0;
    let strangers = thread.credentials.uids.iter().any(|uid| *uid != bounds.uid);
    if may_change || !strangers {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "thread {} of the checkpoint runs as user {}, which the specification (user {}, no \
             new privileges) does not allow",
            thread.tid, thread.credentials.uids[1], bounds.uid
        ),
    ))
}

fn load(program: &mut Program, filter: &[Instruction], flags: u64) {
    let bytes: Vec<u8> = filter
        .iter()
        .flat_map(|instruction| pack(*instruction).to_le_bytes())
        .collect();
    let bytes = program.data(&bytes);
    // struct sock_fprog
    let length = u16::try_from(filter.len()).unwrap_or(0);
    let mut header = length.to_le_bytes().to_vec();
    header.resize(16, 0);
    let header = program.data(&header);
    program.point(header, 8, bytes);
    program.call(
        "load a system call filter",
        SECCOMP,
        &[SECCOMP_SET_MODE_FILTER.into(), flags.into(), header.into()],
    );
}
