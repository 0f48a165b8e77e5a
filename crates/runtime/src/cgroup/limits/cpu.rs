use spec::runtime::Cpu;
use sys::Result;

use super::{
    Cell, Missing, Plan, Property, PropertyValue, Row, Value, Write, invalid, number, or_max,
};
use crate::cgroup::hierarchy::Version;

/// The kernel's default for `cpu.cfs_period_us`, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
/// Sets larger than this are no real machine's.
const LARGEST_NUMBER: u32 = 8192;

impl Plan<'_> {
    pub(super) fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        self.share(cpu)?;
        self.bandwidth(cpu)?;
        self.real_time(cpu)?;
        for (field, file, list, property) in [
            ("cpu.cpus", "cpuset.cpus", &cpu.cpus, "AllowedCPUs"),
            ("cpu.mems", "cpuset.mems", &cpu.mems, "AllowedMemoryNodes"),
        ] {
            let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else {
                continue;
            };
            let set = numbers(list)
                .ok_or_else(|| invalid(field, format!("{list:?} is not a list such as 0-3,7")))?;
            self.row(Row {
                field,
                controller: "cpuset",
                v1: Cell::Write(file, list.clone()),
                v2: Cell::Write(file, list.clone()),
                systemd: Some(Property {
                    name: property,
                    value: PropertyValue::Set(set),
                }),
                missing: Missing::Refuse,
            })?;
        }
        Ok(())
    }

    /// An idle group has no weight: the kernel refuses to set one.
    fn share(&mut self, cpu: &Cpu) -> Result<()> {
        if let Some(idle) = cpu.idle {
            if !(0..=1).contains(&idle) {
                return Err(invalid("cpu.idle", "it is neither 0 nor 1"));
            }
            self.row(Row {
                field: "cpu.idle",
                controller: "cpu",
                v1: Cell::Write("cpu.idle", idle.to_string()),
                v2: Cell::Write("cpu.idle", idle.to_string()),
                // systemd's word for idle is a weight of zero.
                systemd: (idle == 1).then_some(Property {
                    name: "CPUWeight",
                    value: PropertyValue::Number(0),
                }),
                missing: Missing::Refuse,
            })?;
            if idle == 1 {
                return Ok(());
            }
        }
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            let weight = weight_of_shares(shares);
            self.row(Row {
                field: "cpu.shares",
                controller: "cpu",
                v1: Cell::Write("cpu.shares", shares.to_string()),
                v2: Cell::Write("cpu.weight", weight.to_string()),
                systemd: Some(number("CPUWeight", weight)),
                missing: Missing::Refuse,
            })?;
        }
        Ok(())
    }

    fn bandwidth(&mut self, cpu: &Cpu) -> Result<()> {
        let quota = cpu.quota.filter(|quota| *quota != 0);
        let period = cpu.period.filter(|period| *period != 0);
        if let Some(period) = period {
            self.period(period, quota)?;
        }
        if let Some(quota) = quota {
            let text = quota.max(-1).to_string();
            self.row(Row {
                field: "cpu.quota",
                controller: "cpu",
                v1: Cell::Write("cpu.cfs_quota_us", text),
                v2: match period {
                    // Alone it leaves the period as it is.
                    None => Cell::Write("cpu.max", or_max(quota)),
                    Some(period) => Cell::Write("cpu.max", format!("{} {period}", or_max(quota))),
                },
                systemd: Some(number(
                    "CPUQuotaPerSecUSec",
                    per_second(quota, period.unwrap_or(DEFAULT_PERIOD)),
                )),
                missing: Missing::Refuse,
            })?;
        }
        if let Some(burst) = cpu.burst {
            self.row(Row {
                field: "cpu.burst",
                controller: "cpu",
                v1: Cell::Write("cpu.cfs_burst_us", burst.to_string()),
                v2: Cell::Write("cpu.max.burst", burst.to_string()),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        Ok(())
    }

    fn period(&mut self, period: u64, quota: Option<i64>) -> Result<()> {
        let field = "cpu.period";
        if self.needed("cpu", field)? == Version::V2 && quota.is_none() {
            // Version 2 has both in one file.
            self.done.writes.push(Write {
                field: field.into(),
                controller: "cpu".into(),
                file: "cpu.max".into(),
                value: Value::AfterFirstWord(period.to_string()),
                other: None,
                missing: Missing::Refuse,
            });
            self.done
                .properties
                .push(number("CPUQuotaPeriodUSec", period));
            return Ok(());
        }
        self.row(Row {
            field,
            controller: "cpu",
            v1: Cell::Write("cpu.cfs_period_us", period.to_string()),
            v2: Cell::Nothing,
            systemd: None,
            missing: Missing::Refuse,
        })?;
        self.done
            .properties
            .push(number("CPUQuotaPeriodUSec", period));
        Ok(())
    }

    fn real_time(&mut self, cpu: &Cpu) -> Result<()> {
        const NONE: &str = "cgroup version 2 has no real-time limits; leave it out";
        if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
            self.row(Row {
                field: "cpu.realtimePeriod",
                controller: "cpu",
                v1: Cell::Write("cpu.rt_period_us", period.to_string()),
                v2: Cell::Refused(NONE),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
            self.row(Row {
                field: "cpu.realtimeRuntime",
                controller: "cpu",
                v1: Cell::Write("cpu.rt_runtime_us", runtime.to_string()),
                v2: Cell::Refused(NONE),
                systemd: None,
                missing: Missing::Refuse,
            })?;
        }
        Ok(())
    }
}

/// Shares (2 to 262144, 1024 being usual) as a weight (1 to 10000, 100 being
/// usual), so that the ends and the usual value of one are those of the other:
/// a curve through the three points in logarithms, as runc since 1.3.2 and
/// crun since 1.23 have it.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let power = (shares as f64).log2();
            let exponent = (power * power + 125.0 * power) / 612.0 - 7.0 / 34.0;
            (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
        }
    }
}

/// Microseconds of processor time in a second, in steps of systemd's 10 ms.
fn per_second(quota: i64, period: u64) -> u64 {
    const STEP: u64 = 10_000;
    let Ok(quota) = u64::try_from(quota) else {
        return u64::MAX;
    };
    let exact = quota.saturating_mul(1_000_000) / period.max(1);
    exact.div_ceil(STEP).saturating_mul(STEP)
}

/// The set that `0-3,7` names, as bits; `None` if it is no such list, or has
/// numbers that no kernel could have.
pub(super) fn numbers(list: &str) -> Option<Vec<u8>> {
    if list.len() > 4096 {
        return None;
    }
    let mut set = Vec::new();
    for range in list.split(',') {
        let range = range.trim();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if first > last || last >= LARGEST_NUMBER {
            return None;
        }
        for number in first..=last {
            let byte = number as usize / 8;
            if set.len() <= byte {
                set.resize(byte + 1, 0);
            }
            set[byte] |= 1 << (number % 8);
        }
    }
    Some(set)
}
