use spec::runtime::Memory;
use sys::Result;

use super::{Cell, Missing, Plan, Row, invalid, number, or_infinity, or_max};
use crate::cgroup::hierarchy::Version;

impl Plan<'_> {
    /// Zero is "not said", as the runtimes before us read it.
    pub(super) fn memory(&mut self, memory: &Memory) -> Result<()> {
        let limit = memory.limit.filter(|limit| *limit != 0);
        if let Some(limit) = limit {
            self.row(Row {
                field: "memory.limit",
                controller: "memory",
                v1: Cell::Write("memory.limit_in_bytes", legacy(limit)),
                v2: Cell::Write("memory.max", or_max(limit)),
                systemd: Some(number("MemoryMax", or_infinity(limit))),
                missing: Missing::Refuse,
            })?;
        }
        // Memory without a limit and a limit on both together is no state
        // that the kernel has.
        let swap = match memory.swap.filter(|swap| *swap != 0) {
            None if limit.is_some_and(|limit| limit < 0) => Some(-1),
            swap => swap,
        };
        if let Some(swap) = swap {
            self.swap(swap, limit)?;
        }
        if let Some(reservation) = memory.reservation.filter(|size| *size != 0) {
            self.row(Row {
                field: "memory.reservation",
                controller: "memory",
                v1: Cell::Write("memory.soft_limit_in_bytes", legacy(reservation)),
                v2: Cell::Write("memory.low", or_max(reservation)),
                systemd: Some(number("MemoryLow", or_infinity(reservation))),
                missing: Missing::Refuse,
            })?;
        }
        self.older_settings(memory)?;
        if memory.check_before_update == Some(true)
            && let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok())
        {
            self.done.not_below_use = Some(limit);
        }
        Ok(())
    }

    /// Version 1 counts memory and swap together, version 2 apart.
    fn swap(&mut self, swap: i64, limit: Option<i64>) -> Result<()> {
        let field = "memory.swap";
        let alone = match limit {
            _ if swap < 0 => -1,
            Some(limit) if limit > 0 && swap < limit => {
                return Err(invalid(
                    field,
                    format!(
                        "{swap} is memory and swap together and cannot be less than the memory \
                         limit, {limit}"
                    ),
                ));
            }
            Some(limit) if limit > 0 => swap - limit,
            _ if self.needed("memory", field)? == Version::V1 => swap,
            _ => return Err(invalid(field, "it needs a memory limit beside it")),
        };
        self.row(Row {
            field,
            controller: "memory",
            v1: Cell::Write("memory.memsw.limit_in_bytes", legacy(swap)),
            v2: Cell::Write("memory.swap.max", or_max(alone)),
            systemd: Some(number("MemorySwapMax", or_infinity(alone))),
            missing: Missing::Warn,
        })
    }

    /// What version 2 gave up.
    fn older_settings(&mut self, memory: &Memory) -> Result<()> {
        if memory.kernel.is_some_and(|limit| limit > 0) {
            self.done.warnings.push(
                "linux.resources.memory.kernel is ignored: kernels since 5.16 have no limit for \
                 kernel memory alone"
                    .to_owned(),
            );
        }
        if let Some(limit) = memory.kernel_tcp.filter(|limit| *limit != 0) {
            self.row(Row {
                field: "memory.kernelTCP",
                controller: "memory",
                v1: Cell::Write("memory.kmem.tcp.limit_in_bytes", legacy(limit)),
                v2: Cell::Refused("cgroup version 2 counts it with all other memory; leave it out"),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        if let Some(swappiness) = memory.swappiness {
            if swappiness > 100 {
                return Err(invalid("memory.swappiness", "it is above 100"));
            }
            self.row(Row {
                field: "memory.swappiness",
                controller: "memory",
                v1: Cell::Write("memory.swappiness", swappiness.to_string()),
                v2: Cell::Refused(
                    "cgroup version 2 has none for each group; leave it out, or set vm.swappiness",
                ),
                systemd: None,
                missing: Missing::Warn,
            })?;
        }
        if memory.disable_oom_killer == Some(true) {
            self.row(Row {
                field: "memory.disableOOMKiller",
                controller: "memory",
                v1: Cell::Write("memory.oom_control", "1".to_owned()),
                v2: Cell::Refused("cgroup version 2 always kills; leave it out"),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        if memory.use_hierarchy == Some(false) {
            return Err(invalid(
                "memory.useHierarchy",
                "kernels since 5.11 always count groups below with those above; leave it out",
            ));
        }
        Ok(())
    }
}

fn legacy(value: i64) -> String {
    value.max(-1).to_string()
}
