//! `exec`: one more process in a running container.

use runtime::cgroup::SubCgroup;
use runtime::{ExecRequest, Lifetime, ProcessStdio};
use spec::runtime::{Process, Spec, StateStatus};
use state::SeccompProfile;
use sys::{Error, ErrorKind, Result};

use super::args::{Exec, Global};
use super::console::{self, Foreground};
use super::container::Container;
use super::create::write_pid_file;
use super::{listen_fds, log, pidfd};

/// The exit code of the process, or 0 if it is left on its own.
pub(super) fn exec(global: &Global, exec: &Exec) -> Result<u8> {
    let inherited = listen_fds::inherited(exec.preserve_fds)?;
    let container = Container::load(global, &exec.id)?;
    match container.status() {
        StateStatus::Running | StateStatus::Created => {}
        StateStatus::Paused if exec.ignore_paused => {}
        StateStatus::Paused => {
            return Err(container.conflict(
                "is paused: resume it, or let the process wait for that with --ignore-paused",
            ));
        }
        _ => return Err(container.conflict("is not running")),
    }
    let config = container.config()?;
    let process = process_for(exec, &config)?;
    let stdio = stdio_for(exec, &process)?;
    let own = config.linux.as_ref();
    let profile = match own.and_then(|linux| linux.seccomp.as_ref()) {
        Some(profile) => SeccompProfile::Custom(Box::new(profile.clone())),
        None => SeccompProfile::Unconfined,
    };
    let (cgroup_manager, cgroup) = container.place_of_cgroup()?;
    let below = exec
        .cgroups
        .iter()
        .map(|text| SubCgroup::parse(text))
        .collect::<Result<Vec<_>>>()?;
    // Who is looked up in the container has the groups of its files, and these;
    // otherwise they are in the process already.
    let groups: Vec<String> = match &exec.user {
        Some(_) => exec.additional_gids.iter().map(u32::to_string).collect(),
        None => Vec::new(),
    };
    let foreground = if exec.detach {
        None
    } else {
        Some(Foreground::new()?)
    };
    log::debug(global, || format!("exec {:?} in {}", process.args, exec.id));
    global.timings.done("container");
    let mut running = runtime::exec(ExecRequest {
        target: container.facts.sandbox.init,
        process: &process,
        container: Some(runtime::Container {
            spec: &config,
            state: container.state(),
        }),
        seccomp: &profile,
        cgroup,
        cgroup_manager,
        sub_cgroups: &below,
        user: exec.user.as_deref().unwrap_or_default(),
        groups: &groups,
        stdio,
        preserve_fds: inherited.count(),
        keyring: container.facts.has_keyring.then_some(container.id.as_str()),
        lifetime: if exec.detach {
            Lifetime::Own
        } else {
            Lifetime::WithParent
        },
    })?;
    let console = match (&exec.console_socket, running.take_console()) {
        (Some(socket), Some(master)) => {
            console::send(socket, &master)?;
            None
        }
        (_, console) => console,
    };
    if let Some(socket) = &exec.pidfd_socket {
        pidfd::send(socket, running.pidfd(), "setns")?;
    }
    write_pid_file(exec.pid_file.as_deref(), running.process().pid)?;
    global.timings.done("start");
    match foreground {
        None => Ok(0),
        Some(foreground) => {
            let code = foreground.wait(&mut running, console.as_ref())?.code();
            global.timings.done("program");
            Ok(code)
        }
    }
}

fn stdio_for(exec: &Exec, process: &Process) -> Result<ProcessStdio> {
    if !process.terminal {
        return Ok(ProcessStdio::Inherit);
    }
    if exec.detach && exec.console_socket.is_none() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a terminal with --detach needs --console-socket, since nobody here stays to hold it",
        ));
    }
    Ok(ProcessStdio::Terminal {
        size: process.console_size.or_else(console::size),
    })
}

/// The process file, or the container's process with what was asked.
fn process_for(exec: &Exec, config: &Spec) -> Result<Process> {
    let mut process: Process = if let Some(path) = &exec.process {
        runtime::read_process(path)?
    } else {
        let mut process = config.process.clone().unwrap_or_default();
        process.terminal = false;
        process.args.clone_from(&exec.args);
        process
    };
    process.terminal |= exec.tty;
    process.env.extend(exec.env.iter().cloned());
    if let Some(cwd) = &exec.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(profile) = &exec.apparmor {
        process.apparmor_profile = Some(profile.clone());
    }
    if let Some(label) = &exec.process_label {
        process.selinux_label = Some(label.clone());
    }
    process.no_new_privileges |= exec.no_new_privileges;
    let groups = &mut process.user.additional_gids;
    groups.extend(exec.additional_gids.iter().copied());
    if !exec.caps.is_empty() {
        let caps = process.capabilities.get_or_insert_default();
        for cap in &exec.caps {
            for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
                if !set.contains(cap) {
                    set.push(cap.clone());
                }
            }
        }
    }
    Ok(process)
}
