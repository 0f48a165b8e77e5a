//! Resources → what is written where. One table: a row for each limit, with a
//! cell for version 1, one for version 2 and one for systemd. Pure.
//!
//! Every field of the specification's `linux.resources` has its row, or is
//! refused by name where the kernel has no such thing. Device rules are not
//! here, see `devices`.

mod block_io;
mod cpu;
mod memory;
mod others;

use std::borrow::Cow;

use spec::runtime::Resources;
use sys::{Error, ErrorKind, Result};

use super::hierarchy::Version;

/// All that `resources` come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) writes: Vec<Write>,
    /// For a unit of systemd, which would otherwise set back what it knows of.
    pub(crate) properties: Vec<Property>,
    /// What is deliberately not done, in words.
    pub(crate) warnings: Vec<String>,
    /// `memory.checkBeforeUpdate`: refuse this limit (bytes) if more is in use.
    pub(crate) not_below_use: Option<u64>,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Below `linux.resources`, for messages.
    pub(crate) field: Cow<'static, str>,
    /// As version 1 calls it; that is also the name of the hierarchy.
    pub(crate) controller: Cow<'static, str>,
    pub(crate) file: Cow<'static, str>,
    pub(crate) value: Value,
    /// What takes its place where the file does not exist.
    pub(crate) other: Option<(&'static str, String)>,
    pub(crate) missing: Missing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    /// Behind the first word that the file has now.
    AfterFirstWord(String),
}

/// What it means that a file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The limit cannot be held.
    Refuse,
    /// The kernel was built or booted without it (swap accounting, a
    /// scheduler with weights): say so and go on.
    Warn,
    /// It only adds to another write.
    Ignore,
}

/// A property of a systemd unit (systemd.resource-control(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) value: PropertyValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PropertyValue {
    /// systemd's "infinity" is the largest number.
    Number(u64),
    /// A set of processors or memory nodes: bit n of byte n / 8.
    Set(Vec<u8>),
}

/// What a version has for a limit.
enum Cell {
    Write(&'static str, String),
    /// The second where the first does not exist.
    Either([(&'static str, String); 2]),
    /// Nothing to do: it is so anyway.
    Nothing,
    /// There is no such thing; why, in words.
    Refused(&'static str),
}

struct Row {
    field: &'static str,
    controller: &'static str,
    v1: Cell,
    v2: Cell,
    systemd: Option<Property>,
    missing: Missing,
}

/// What has to be done for `resources`; `version` says where a controller is
/// served.
pub(crate) fn plan(
    resources: &Resources,
    version: &dyn Fn(&str) -> Option<Version>,
) -> Result<Planned> {
    let mut plan = Plan {
        done: Planned::default(),
        version,
    };
    if let Some(memory) = &resources.memory {
        plan.memory(memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        plan.cpu(cpu)?;
    }
    if let Some(pids) = &resources.pids {
        plan.pids(pids)?;
    }
    if let Some(block_io) = &resources.block_io {
        plan.block_io(block_io)?;
    }
    for hugepages in &resources.hugepage_limits {
        plan.hugepages(hugepages)?;
    }
    if let Some(network) = &resources.network {
        plan.network(network)?;
    }
    for (device, limits) in &resources.rdma {
        plan.rdma(device, limits)?;
    }
    for (file, value) in &resources.unified {
        plan.unified(file, value)?;
    }
    Ok(plan.done)
}

struct Plan<'a> {
    done: Planned,
    version: &'a dyn Fn(&str) -> Option<Version>,
}

impl Plan<'_> {
    fn row(&mut self, row: Row) -> Result<()> {
        let cell = match ((self.version)(row.controller), row.v2) {
            (Some(Version::V1), _) => row.v1,
            // Version 2 has no controller for what it gave up.
            (_, refused @ Cell::Refused(_)) => refused,
            (Some(Version::V2), cell) => cell,
            (None, _) => return Err(unavailable(row.controller, row.field)),
        };
        let (file, value, other) = match cell {
            Cell::Write(file, value) => (file, value, None),
            Cell::Either([(file, value), other]) => (file, value, Some(other)),
            Cell::Nothing => return Ok(()),
            Cell::Refused(why) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("linux.resources.{}: {why}", row.field),
                ));
            }
        };
        self.done.writes.push(Write {
            field: row.field.into(),
            controller: row.controller.into(),
            file: file.into(),
            value: Value::Text(value),
            other,
            missing: row.missing,
        });
        self.done.properties.extend(row.systemd);
        Ok(())
    }

    /// A limit whose file has a name that is not known beforehand.
    fn push(
        &mut self,
        (field, controller): (&'static str, &'static str),
        file: String,
        value: String,
        missing: Missing,
    ) {
        self.done.writes.push(Write {
            field: field.into(),
            controller: controller.into(),
            file: file.into(),
            value: Value::Text(value),
            other: None,
            missing,
        });
    }

    fn needed(&self, controller: &str, field: &str) -> Result<Version> {
        (self.version)(controller).ok_or_else(|| unavailable(controller, field))
    }
}

fn unavailable(controller: &str, field: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "linux.resources.{field} needs the {controller} controller, which is not available \
             here: leave the limit out, or see in /proc/cgroups whether the kernel has it and \
             whether it is mounted"
        ),
    )
}

fn number(name: &'static str, value: u64) -> Property {
    Property {
        name,
        value: PropertyValue::Number(value),
    }
}

/// Numbers below zero are "unlimited".
fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

fn or_infinity(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn invalid(field: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("linux.resources.{field}: {why}"),
    )
}

#[cfg(test)]
mod tests;
