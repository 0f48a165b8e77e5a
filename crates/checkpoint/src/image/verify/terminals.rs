//! Terminals of a checkpoint: numbers, ends, who they control.

use std::collections::BTreeSet;

use sys::Result;
use sys::pty::SETTINGS;

use super::ensure;
use crate::image::hex;
use crate::image::schema::{Checkpoint, Kind, Master};

/// The kernel's own bound (`NR_UNIX98_PTY_MAX`).
const NUMBER_MAX: u32 = 1 << 20;

pub(super) fn verify(checkpoint: &Checkpoint) -> Result<()> {
    let mut numbers = BTreeSet::new();
    let mut outside = 0;
    for (place, terminal) in checkpoint.terminals.iter().enumerate() {
        let is_new = terminal.number < NUMBER_MAX && numbers.insert(terminal.number);
        ensure(is_new, "a terminal has an impossible number")?;
        let length = if terminal.master == Master::Gone {
            0
        } else {
            SETTINGS
        };
        let settings = hex::decode(&terminal.settings);
        ensure(
            settings.is_ok_and(|it| it.len() == length) && terminal.mode <= 0o7777,
            "a terminal is in an impossible state",
        )?;
        outside += usize::from(terminal.master == Master::Outside);
        let is_its_master = |kind: &Kind| matches!(kind, Kind::Terminal { terminal, is_master: true, .. } if *terminal == place);
        let descriptions = checkpoint.descriptions.iter();
        let masters = descriptions.filter(|it| is_its_master(&it.kind)).count();
        let wanted = usize::from(terminal.master == Master::Inside);
        ensure(masters == wanted, "a terminal has too many ends or too few")?;
    }
    ensure(outside <= 1, "two terminals are its own")?;
    for process in &checkpoint.processes {
        ensure(
            process.terminal.is_none_or(|it| numbers.contains(&it)),
            "a process is controlled by nothing",
        )?;
    }
    Ok(())
}
