//! Limits, ids, capabilities, the system call filter.

use std::fs;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use spec::runtime::Process;
use sys::caps::{self, Caps};
use sys::rlimit::{self, Outcome};
use sys::{Context as _, Error, ErrorKind, Result};

use super::users::Account;
use super::{Filter, Ready};
use crate::create::Keyring;
use crate::sandbox::Identity;
use crate::seccomp::notify::Connection;

/// Sets `oom_score_adj`; lowering it needs a right that we may lack, and is
/// then left as it is.
pub(crate) fn oom_score(process: &Process) -> Result<Vec<String>> {
    let Some(asked) = process.oom_score_adj else {
        return Ok(Vec::new());
    };
    let file = "/proc/self/oom_score_adj";
    match fs::write(file, asked.to_string()) {
        Ok(()) => Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(vec![format!(
            "oom_score_adj {asked} is below our own and we may not lower it; it stays as it is"
        )]),
        Err(error) => Err(error).context(|| format!("set oom_score_adj to {asked}")),
    }
}

/// Resource limits; what we may not give is clamped, and said.
pub(crate) fn limits(identity: &Identity<'_>) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (name, resource, limit) in &identity.limits {
        match rlimit::set(*resource, *limit).context(|| format!("set {name}"))? {
            Outcome::AsAsked => {}
            Outcome::Clamped(to) => warnings.push(format!(
                "{name} {}:{} is beyond our own hard limit and was set to {}:{}",
                limit.soft, limit.hard, to.soft, to.hard
            )),
        }
    }
    Ok(warnings)
}

/// A session keyring of the container's own, so that its programs neither see
/// nor fill the one of whoever started it. To be called as the container's
/// root, inside its user namespace: names of keyrings belong to that.
pub(crate) fn session_keyring(keyring: Keyring, id: &str) -> Result<()> {
    if keyring == Keyring::Inherited {
        return Ok(());
    }
    match sys::keyring::join_session(&format!("_ses.{id}")) {
        Ok(()) => Ok(()),
        // A kernel without keys, a filter around us, a full quota: there is
        // nothing to be had then, and containers run without.
        Err(error)
            if [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::DQUOT]
                .iter()
                .any(|errno| error.errno() == Some(errno.raw_os_error())) =>
        {
            Ok(())
        }
        Err(error) => Err(error).context(|| "make a session keyring"),
    }
}

/// Ids and capabilities. CAP_SYS_ADMIN stays in force when a filter is still
/// to be loaded without no_new_privs; [`filter`] gives it up.
pub(crate) fn apply(identity: &Identity<'_>, account: &Account) -> Result<()> {
    caps::bound(identity.bounding)?;
    // Without this a change from root to another user would drop all
    // capabilities.
    let drops = account.uid != 0;
    if drops {
        rustix::thread::set_keep_capabilities(true).context(|| "keep capabilities")?;
    }
    change_ids(account)?;
    if drops {
        rustix::thread::set_keep_capabilities(false).context(|| "keep capabilities")?;
    }
    if identity.process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context(|| "set no_new_privs")?;
    }
    let for_filter = if identity.process.no_new_privileges {
        Caps::default()
    } else {
        Caps::SYS_ADMIN & caps::permitted()?
    };
    caps::set(
        identity.effective | for_filter,
        identity.permitted | for_filter,
        inheritable(identity),
    )
    .context(|| "set capabilities")?;
    caps::set_ambient(identity.ambient).context(|| "set ambient capabilities")?;
    // A change of ids made us dumpable as the host's default says.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context(|| "hide our memory")
}

/// What the specification asks for, and what ambient ones need. No engine asks
/// for more than the latter.
fn inheritable(identity: &Identity<'_>) -> Caps {
    identity.inheritable | identity.ambient
}

fn change_ids(account: &Account) -> Result<()> {
    let groups: Vec<Gid> = account
        .groups
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => {}
        // A user namespace whose owner may not change groups.
        Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
        Err(errno) => return Err(Error::from(errno)).context(|| "set additional groups"),
    }
    let gid = Gid::from_raw(account.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .context(|| format!("become group {}", account.gid))?;
    let uid = Uid::from_raw(account.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .context(|| format!("become user {}", account.uid))
}

/// Gives up access to files and ports, before a filter may forbid even that.
pub(crate) fn restrict(ready: &Ready) -> Result<()> {
    match &ready.ruleset {
        None => Ok(()),
        Some(ruleset) => ruleset
            .restrict_self()
            .context(|| format!("annotations.{}", super::landlock::ANNOTATION)),
    }
}

/// Loads the filter and gives up what was kept for it. What the filter then
/// has to allow is capset, and execve.
pub(crate) fn filter(
    filter: Option<&Filter>,
    identity: &Identity<'_>,
    agent: Option<&Connection>,
) -> Result<()> {
    match (filter, agent) {
        (None, _) => {}
        (Some(filter), None) => {
            sys::seccomp::load(&filter.program, filter.flags)
                .context(|| "load the seccomp filter")?;
        }
        (Some(filter), Some(agent)) => {
            let agent = agent.duplicate()?;
            let hand_over = move |listener| agent.send(&listener);
            sys::seccomp::load_with_listener(&filter.program, filter.flags, hand_over)
                .context(|| "load the seccomp filter and tell linux.seccomp.listenerPath")?;
        }
    }
    if identity.process.no_new_privileges || identity.permitted.contains(Caps::SYS_ADMIN) {
        return Ok(());
    }
    let inheritable = inheritable(identity);
    caps::set(identity.effective, identity.permitted, inheritable).map_err(|error| {
        Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the seccomp profile forbids capset, which is needed after it unless \
                 noNewPrivileges is set ({error})"
            ),
        )
    })
}
