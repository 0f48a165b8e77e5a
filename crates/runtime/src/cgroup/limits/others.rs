use std::fmt::Write as _;

use spec::runtime::{HugepageLimit, Network, Pids, Rdma};
use sys::{Error, ErrorKind, Result};

use super::cpu::numbers;
use super::{
    Cell, Missing, Plan, Property, PropertyValue, Row, Value, Write, invalid, number, or_max,
};
use crate::cgroup::hierarchy::Version;

/// Files that move processes about or end them: no limits.
const NOT_LIMITS: [&str; 5] = [
    "cgroup.kill",
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
    "cgroup.type",
];

impl Plan<'_> {
    pub(super) fn pids(&mut self, pids: &Pids) -> Result<()> {
        // Docker writes 0 for "unlimited".
        let Some(limit) = pids.limit.map(|limit| if limit == 0 { -1 } else { limit }) else {
            return Ok(());
        };
        self.row(Row {
            field: "pids.limit",
            controller: "pids",
            v1: Cell::Write("pids.max", or_max(limit)),
            v2: Cell::Write("pids.max", or_max(limit)),
            systemd: Some(number("TasksMax", u64::try_from(limit).unwrap_or(u64::MAX))),
            missing: Missing::Refuse,
        })
    }

    /// What is in use, and what is reserved before it is used.
    pub(super) fn hugepages(&mut self, hugepages: &HugepageLimit) -> Result<()> {
        let name = ("hugepageLimits", "hugetlb");
        let size = &hugepages.page_size;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(invalid(
                name.0,
                format!("page size {size:?} is not written as 2MB"),
            ));
        }
        let end = match self.needed(name.1, name.0)? {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        let limit = hugepages.limit.to_string();
        let file = format!("hugetlb.{size}.{end}");
        self.push(name, file, limit.clone(), Missing::Refuse);
        let file = format!("hugetlb.{size}.rsvd.{end}");
        self.push(name, file, limit, Missing::Ignore);
        Ok(())
    }

    pub(super) fn network(&mut self, network: &Network) -> Result<()> {
        const NONE: &str =
            "cgroup version 2 marks no packets; match the group itself in the firewall";
        if let Some(class) = network.class_id {
            self.row(Row {
                field: "network.classID",
                controller: "net_cls",
                v1: Cell::Write("net_cls.classid", class.to_string()),
                v2: Cell::Refused(NONE),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        for interface in &network.priorities {
            let name = &interface.name;
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '/') {
                return Err(invalid(
                    "network.priorities",
                    format!("{name:?} is no interface's name"),
                ));
            }
            self.row(Row {
                field: "network.priorities",
                controller: "net_prio",
                v1: Cell::Write(
                    "net_prio.ifpriomap",
                    format!("{name} {}", interface.priority),
                ),
                v2: Cell::Refused(NONE),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        Ok(())
    }

    pub(super) fn rdma(&mut self, device: &str, limits: &Rdma) -> Result<()> {
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(invalid("rdma", format!("{device:?} is no device's name")));
        }
        let mut line = device.to_owned();
        if let Some(handles) = limits.hca_handles {
            let _ = write!(line, " hca_handle={handles}");
        }
        if let Some(objects) = limits.hca_objects {
            let _ = write!(line, " hca_object={objects}");
        }
        if line == device {
            return Ok(());
        }
        self.row(Row {
            field: "rdma",
            controller: "rdma",
            v1: Cell::Write("rdma.max", line.clone()),
            v2: Cell::Write("rdma.max", line),
            systemd: None,
            missing: Missing::Refuse,
        })
    }

    /// Files of version 2 by their own names; each line is one write.
    pub(super) fn unified(&mut self, file: &str, value: &str) -> Result<()> {
        let (controller, rest) = file.split_once('.').unwrap_or_default();
        let plain = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !plain(controller) || !plain(rest) {
            return Err(invalid("unified", format!("{file:?} is no file's name")));
        }
        if NOT_LIMITS.contains(&file) {
            return Err(invalid("unified", format!("{file} is no limit")));
        }
        let known_as = if controller == "io" {
            "blkio"
        } else {
            controller
        };
        if (self.version)(known_as) != Some(Version::V2) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "linux.resources.unified: {file} is a file of cgroup version 2, which does \
                     not serve {controller} here"
                ),
            ));
        }
        for line in value.lines().filter(|line| !line.is_empty()) {
            self.done.writes.push(Write {
                field: format!("unified[{file:?}]").into(),
                controller: known_as.to_owned().into(),
                file: file.to_owned().into(),
                value: Value::Text(line.to_owned()),
                other: None,
                missing: Missing::Refuse,
            });
        }
        self.done.properties.extend(property_of(file, value.trim()));
        Ok(())
    }
}

/// What systemd calls a file of version 2, as far as it knows it.
fn property_of(file: &str, value: &str) -> Option<Property> {
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpuset.cpus" => {
            return Some(Property {
                name: "AllowedCPUs",
                value: PropertyValue::Set(numbers(value)?),
            });
        }
        "cpuset.mems" => {
            return Some(Property {
                name: "AllowedMemoryNodes",
                value: PropertyValue::Set(numbers(value)?),
            });
        }
        _ => return None,
    };
    let value = match value {
        "max" => u64::MAX,
        value => value.parse().ok()?,
    };
    Some(number(name, value))
}
