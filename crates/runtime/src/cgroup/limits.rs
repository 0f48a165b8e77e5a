//! Resources → writes to files: one column for version 1, one for version 2.
//! Pure.

use spec::runtime::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};
use sys::{Error, ErrorKind, Result};

use super::hierarchy::Version;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) controller: String,
    pub(crate) file: String,
    pub(crate) value: String,
    pub(crate) necessity: Necessity,
}

/// What a missing file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Necessity {
    /// The limit cannot be held: refuse.
    Required,
    /// A kernel built without it (swap accounting): warn.
    IfPresent,
}

/// What has to be written for `resources`; `version` says where a controller
/// is served. Device rules are not here, see `devices`.
pub(crate) fn plan(
    resources: &Resources,
    version: &dyn Fn(&str) -> Option<Version>,
) -> Result<Vec<Write>> {
    let mut plan = Plan {
        writes: Vec::new(),
        version,
    };
    if let Some(memory) = &resources.memory {
        plan.memory(memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        plan.cpu(cpu)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        // Docker writes 0 for "unlimited".
        let value = if limit <= 0 {
            "max".to_owned()
        } else {
            limit.to_string()
        };
        plan.both("pids", "pids.max", "pids.max", value)?;
    }
    if let Some(block_io) = &resources.block_io {
        plan.block_io(block_io)?;
    }
    for hugepages in &resources.hugepage_limits {
        let size = &hugepages.page_size;
        if !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(invalid(format!(
                "linux.resources.hugepageLimits: page size {size:?}"
            )));
        }
        plan.both(
            "hugetlb",
            &format!("hugetlb.{size}.limit_in_bytes"),
            &format!("hugetlb.{size}.max"),
            hugepages.limit.to_string(),
        )?;
    }
    if resources
        .network
        .as_ref()
        .is_some_and(|network| network.class_id.is_some() || !network.priorities.is_empty())
    {
        return Err(unsupported("linux.resources.network"));
    }
    if !resources.rdma.is_empty() {
        return Err(unsupported("linux.resources.rdma"));
    }
    for (file, value) in &resources.unified {
        let controller = file.split('.').next().unwrap_or_default();
        if file.contains('/') || !file.contains('.') {
            return Err(invalid(format!(
                "linux.resources.unified: bad file name {file:?}"
            )));
        }
        if plan.version_of(controller) != Some(Version::V2) && controller != "cgroup" {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("linux.resources.unified: {controller} is not on cgroup v2 here"),
            ));
        }
        plan.push(controller, file, value.clone(), Necessity::Required);
    }
    Ok(plan.writes)
}

struct Plan<'a> {
    writes: Vec<Write>,
    version: &'a dyn Fn(&str) -> Option<Version>,
}

impl Plan<'_> {
    fn memory(&mut self, memory: &Memory) -> Result<()> {
        let v1 = self.needed("memory")? == Version::V1;
        if let Some(limit) = memory.limit {
            self.both(
                "memory",
                "memory.limit_in_bytes",
                "memory.max",
                bytes(limit, v1),
            )?;
        }
        if let Some(swap) = memory.swap {
            // Version 1 counts memory and swap together, version 2 apart.
            let value = match memory.limit {
                _ if v1 => bytes(swap, true),
                Some(limit) if swap >= 0 && limit >= 0 => {
                    if swap < limit {
                        return Err(invalid(format!(
                            "linux.resources.memory.swap ({swap}) is memory and swap together \
                             and cannot be less than the memory limit ({limit})"
                        )));
                    }
                    (swap - limit).to_string()
                }
                _ if swap < 0 => "max".to_owned(),
                _ => return Err(invalid("linux.resources.memory.swap needs a memory limit")),
            };
            let file = if v1 {
                "memory.memsw.limit_in_bytes"
            } else {
                "memory.swap.max"
            };
            self.push("memory", file, value, Necessity::IfPresent);
        }
        if let Some(reservation) = memory.reservation {
            let value = bytes(reservation, v1);
            self.both("memory", "memory.soft_limit_in_bytes", "memory.low", value)?;
        }
        // `kernel` is deprecated and ignored, as the specification allows.
        if let Some(limit) = memory.kernel_tcp.filter(|_| v1) {
            self.push(
                "memory",
                "memory.kmem.tcp.limit_in_bytes",
                bytes(limit, true),
                Necessity::Required,
            );
        }
        if let Some(swappiness) = memory.swappiness {
            if swappiness > 100 {
                return Err(invalid("linux.resources.memory.swappiness is above 100"));
            }
            // Version 2 has no such thing.
            if v1 {
                let value = swappiness.to_string();
                self.push("memory", "memory.swappiness", value, Necessity::IfPresent);
            }
        }
        if memory.disable_oom_killer == Some(true) && v1 {
            self.push(
                "memory",
                "memory.oom_control",
                "1".into(),
                Necessity::Required,
            );
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<()> {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            let value = match self.needed("cpu")? {
                Version::V1 => shares.to_string(),
                Version::V2 => weight_of_shares(shares).to_string(),
            };
            self.both("cpu", "cpu.shares", "cpu.weight", value)?;
        }
        let quota = cpu.quota.filter(|quota| *quota != 0);
        let period = cpu.period.filter(|period| *period != 0);
        if quota.is_some() || period.is_some() {
            match self.needed("cpu")? {
                Version::V1 => {
                    // The period first: the quota is checked against it.
                    if let Some(period) = period {
                        let value = period.to_string();
                        self.push("cpu", "cpu.cfs_period_us", value, Necessity::Required);
                    }
                    if let Some(quota) = quota {
                        let value = quota.max(-1).to_string();
                        self.push("cpu", "cpu.cfs_quota_us", value, Necessity::Required);
                    }
                }
                Version::V2 => {
                    let quota = match quota {
                        Some(quota) if quota > 0 => quota.to_string(),
                        _ => "max".to_owned(),
                    };
                    let value = format!("{quota} {}", period.unwrap_or(100_000));
                    self.push("cpu", "cpu.max", value, Necessity::Required);
                }
            }
        }
        if let Some(burst) = cpu.burst {
            self.both(
                "cpu",
                "cpu.cfs_burst_us",
                "cpu.max.burst",
                burst.to_string(),
            )?;
        }
        if let Some(idle) = cpu.idle {
            self.both("cpu", "cpu.idle", "cpu.idle", idle.to_string())?;
        }
        if cpu.realtime_runtime.is_some_and(|time| time != 0)
            || cpu.realtime_period.is_some_and(|time| time != 0)
        {
            if self.needed("cpu")? == Version::V2 {
                return Err(unsupported(
                    "linux.resources.cpu.realtimeRuntime on cgroup v2",
                ));
            }
            if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
                self.push(
                    "cpu",
                    "cpu.rt_period_us",
                    period.to_string(),
                    Necessity::Required,
                );
            }
            if let Some(runtime) = cpu.realtime_runtime {
                self.push(
                    "cpu",
                    "cpu.rt_runtime_us",
                    runtime.to_string(),
                    Necessity::Required,
                );
            }
        }
        for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
            if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
                check_list(file, list)?;
                self.both("cpuset", file, file, list.clone())?;
            }
        }
        Ok(())
    }

    fn block_io(&mut self, block_io: &BlockIo) -> Result<()> {
        if block_io.leaf_weight.is_some() {
            return Err(unsupported("linux.resources.blockIO.leafWeight"));
        }
        let version = |plan: &Self| plan.needed("blkio");
        if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
            match version(self)? {
                // Which name it has depends on the scheduler in use.
                Version::V1 => {
                    let value = weight.to_string();
                    self.push(
                        "blkio",
                        "blkio.bfq.weight",
                        value.clone(),
                        Necessity::IfPresent,
                    );
                    self.push("blkio", "blkio.weight", value, Necessity::IfPresent);
                }
                Version::V2 => {
                    let scaled = 1 + (u32::from(weight).max(10) - 10) * 9999 / 990;
                    let value = weight.to_string();
                    self.push("io", "io.bfq.weight", value, Necessity::IfPresent);
                    self.push("io", "io.weight", scaled.to_string(), Necessity::IfPresent);
                }
            }
        }
        for device in &block_io.weight_device {
            let Some(weight) = device.weight else {
                continue;
            };
            let value = format!("{}:{} {weight}", device.major, device.minor);
            let (controller, file) = match version(self)? {
                Version::V1 => ("blkio", "blkio.bfq.weight_device"),
                Version::V2 => ("io", "io.bfq.weight"),
            };
            self.push(controller, file, value, Necessity::IfPresent);
        }
        let columns: [(&[ThrottleDevice], &str, &str); 4] = [
            (
                &block_io.throttle_read_bps_device,
                "blkio.throttle.read_bps_device",
                "rbps",
            ),
            (
                &block_io.throttle_write_bps_device,
                "blkio.throttle.write_bps_device",
                "wbps",
            ),
            (
                &block_io.throttle_read_iops_device,
                "blkio.throttle.read_iops_device",
                "riops",
            ),
            (
                &block_io.throttle_write_iops_device,
                "blkio.throttle.write_iops_device",
                "wiops",
            ),
        ];
        for (devices, v1_file, v2_key) in columns {
            for ThrottleDevice { major, minor, rate } in devices {
                match version(self)? {
                    Version::V1 => {
                        let value = format!("{major}:{minor} {rate}");
                        self.push("blkio", v1_file, value, Necessity::Required);
                    }
                    Version::V2 => {
                        let value = format!("{major}:{minor} {v2_key}={rate}");
                        self.push("io", "io.max", value, Necessity::Required);
                    }
                }
            }
        }
        Ok(())
    }

    fn both(&mut self, controller: &str, v1: &str, v2: &str, value: String) -> Result<()> {
        let file = match self.needed(controller)? {
            Version::V1 => v1,
            Version::V2 => v2,
        };
        self.push(controller, file, value, Necessity::Required);
        Ok(())
    }

    fn push(&mut self, controller: &str, file: &str, value: String, necessity: Necessity) {
        self.writes.push(Write {
            controller: controller.to_owned(),
            file: file.to_owned(),
            value,
            necessity,
        });
    }

    fn version_of(&self, controller: &str) -> Option<Version> {
        (self.version)(controller)
    }

    fn needed(&self, controller: &str) -> Result<Version> {
        self.version_of(controller).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("no {controller} controller here, which a limit needs"),
            )
        })
    }
}

fn bytes(value: i64, v1: bool) -> String {
    match (value < 0, v1) {
        (true, true) => "-1".to_owned(),
        (true, false) => "max".to_owned(),
        (false, _) => value.to_string(),
    }
}

/// 2..=262144 to 1..=10000, as systemd and the other runtimes do.
fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

/// `0-3,7`: digits, commas and dashes, with numbers that a kernel could have;
/// a huge range is refused before anybody expands it.
fn check_list(file: &str, list: &str) -> Result<()> {
    let good = list.len() <= 4096
        && list.split(',').all(|range| {
            let mut ends = range.trim().splitn(2, '-');
            let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
            match (number(ends.next()), ends.next()) {
                (Some(first), None) => first < 8192,
                (Some(first), Some(last)) => {
                    number(Some(last)).is_some_and(|last| first <= last && last < 8192)
                }
                (None, _) => false,
            }
        });
    if good {
        return Ok(());
    }
    Err(invalid(format!(
        "{file}: {list:?} is not a list such as 0-3,7"
    )))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn unsupported(field: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{field} is not supported yet"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::runtime::Pids;

    fn on(version: Version, resources: &Resources) -> Vec<(String, String)> {
        plan(resources, &|_| Some(version))
            .unwrap()
            .into_iter()
            .map(|write| (write.file, write.value))
            .collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(file, value)| ((*file).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_same_limits_read_differently_in_each_version() {
        let resources = Resources {
            memory: Some(Memory {
                limit: Some(100),
                swap: Some(150),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: Some(1024),
                quota: Some(5000),
                period: Some(10_000),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: Some(7) }),
            ..Resources::default()
        };
        assert_eq!(
            on(Version::V1, &resources),
            pairs(&[
                ("memory.limit_in_bytes", "100"),
                ("memory.memsw.limit_in_bytes", "150"),
                ("cpu.shares", "1024"),
                ("cpu.cfs_period_us", "10000"),
                ("cpu.cfs_quota_us", "5000"),
                ("pids.max", "7"),
            ])
        );
        assert_eq!(
            on(Version::V2, &resources),
            pairs(&[
                ("memory.max", "100"),
                ("memory.swap.max", "50"),
                ("cpu.weight", "39"),
                ("cpu.max", "5000 10000"),
                ("pids.max", "7"),
            ])
        );
    }

    #[test]
    fn refuses_what_no_kernel_could_mean() {
        for list in ["0-999999999", "", "a", "3-1", "0,,1"] {
            assert!(check_list("cpuset.cpus", list).is_err(), "{list:?}");
        }
        check_list("cpuset.cpus", "0-3,7").unwrap();
        let resources = Resources {
            pids: Some(Pids { limit: Some(1) }),
            ..Resources::default()
        };
        let error = plan(&resources, &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("pids"));
    }
}
