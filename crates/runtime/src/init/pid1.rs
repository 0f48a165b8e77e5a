//! `--init`: a small pid 1 that runs the program as its child, forwards
//! signals to it and reaps whatever is left to it.

use std::convert::Infallible;

use rustix::process::{Pid, WaitOptions};
use sys::{Context as _, Result};

use super::{Joining, Ready, confine, exec};
use crate::create::ProcessStdio;
use crate::handshake::{FromInit, Link};

/// Signals about ourselves that mean nothing to the program.
const KEPT: [i32; 8] = [
    libc_signal::SIGCHLD,
    libc_signal::SIGTTIN,
    libc_signal::SIGTTOU,
    libc_signal::SIGSEGV,
    libc_signal::SIGBUS,
    libc_signal::SIGFPE,
    libc_signal::SIGILL,
    libc_signal::SIGTRAP,
];

mod libc_signal {
    pub(super) const SIGILL: i32 = 4;
    pub(super) const SIGTRAP: i32 = 5;
    pub(super) const SIGBUS: i32 = 7;
    pub(super) const SIGFPE: i32 = 8;
    pub(super) const SIGSEGV: i32 = 11;
    pub(super) const SIGCHLD: i32 = 17;
    pub(super) const SIGTTIN: i32 = 21;
    pub(super) const SIGTTOU: i32 = 22;
}

/// Never returns but with an error before the program runs.
pub(super) fn run(
    ready: &Ready,
    joining: &Joining<'_>,
    link: &Link,
    stdio: &ProcessStdio,
) -> Result<Infallible> {
    // Before the child exists: none of its signals may be missed.
    sys::process::block_signals()?;
    let has_terminal = matches!(stdio, ProcessStdio::Terminal { .. });
    let child = sys::clone::clone_child(0, None, || {
        let Err(error) = become_program(ready, joining, link, has_terminal);
        let kind = error.kind();
        let _ = link.tell_parent(&FromInit::Failed(error));
        match kind {
            sys::ErrorKind::CommandNotFound => 127,
            _ => 126,
        }
    })
    .context(|| "start the program below init")?;
    // We never execute anything: what is open now would stay open for as long
    // as the container lives. The child holds the link until it executes.
    sys::process::close_all_except(&[])?;
    // What pid 1 itself may do is what the program may do, and less.
    let _ = confine::restrict(ready);
    let _ = confine::filter(joining.filter, joining.identity, None);
    supervise(child.pid)
}

fn become_program(
    ready: &Ready,
    joining: &Joining<'_>,
    link: &Link,
    has_terminal: bool,
) -> Result<Infallible> {
    // A group of its own gets what the program's descendants shall get too;
    // in the foreground, so that it may read the terminal.
    rustix::process::setpgid(None, None).context(|| "make a process group")?;
    if has_terminal {
        // Still blocked, so SIGTTOU does not stop us.
        let group = rustix::process::getpgrp();
        rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group)
            .context(|| "take the foreground of the terminal")?;
    }
    // None is ignored since init began.
    sys::process::unblock_signals()?;
    link.tell_parent(&FromInit::Executing)?;
    confine::restrict(ready)?;
    confine::filter(joining.filter, joining.identity, None)?;
    exec::execute(&ready.program)
}

fn supervise(child: i32) -> ! {
    loop {
        let Ok(signal) = sys::process::next_signal() else {
            continue;
        };
        if !KEPT.contains(&signal) {
            // To the group, as `tini -g` does. It may be gone already.
            let _ = sys::process::signal_pid(-child, signal);
            continue;
        }
        if signal != libc_signal::SIGCHLD {
            continue;
        }
        // One SIGCHLD may stand for several ends.
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) != Pid::from_raw(child) {
                continue;
            }
            let code = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => continue,
            };
            sys::clone::exit_now(code);
        }
    }
}
