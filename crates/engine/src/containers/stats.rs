//! `stats`: what containers use, read from the kernel's files. No monitor is
//! woken for it.

use std::fs;
use std::time::Instant;

use state::{ContainerId, NetworkMode};
use sys::Result;

use super::observe::{self, Observed};
use super::stop::no_such;
use super::{Containers, list::ListRequest};
use crate::cgroup::{Hierarchies, Usage};
use crate::runtime_spec::cgroup_path;

/// One look at one container.
#[derive(Clone, Debug)]
pub struct StatsSample {
    pub id: ContainerId,
    pub name: String,
    /// False: there is nothing to be measured.
    pub is_running: bool,
    pub taken: Instant,
    pub usage: Usage,
    /// Bytes that came in over the network; absent on the host's network.
    pub received: Option<u64>,
    pub sent: Option<u64>,
}

impl StatsSample {
    /// Percent of one processor that was used since `earlier`.
    #[allow(clippy::cast_precision_loss)] // two decimals are shown
    pub fn cpu_percent(&self, earlier: &Self) -> Option<f64> {
        let used = self
            .usage
            .cpu_nanos?
            .checked_sub(earlier.usage.cpu_nanos?)?;
        let time = self.taken.duration_since(earlier.taken).as_nanos();
        (time > 0).then(|| used as f64 * 100.0 / time as f64)
    }
}

impl Containers<'_> {
    /// A look at each of `containers`, or at all that run (with `all`: at all
    /// that there are).
    pub fn stats(&self, containers: &[&str], all: bool) -> Result<Vec<StatsSample>> {
        let hierarchies = Hierarchies::find()?;
        let mut ids = Vec::new();
        if containers.is_empty() {
            let request = ListRequest {
                all,
                ..ListRequest::default()
            };
            ids.extend(self.list(&request)?.into_iter().map(|one| one.id));
        }
        for container in containers {
            ids.push(self.resolve(container)?);
        }
        let mut samples = Vec::new();
        for id in ids {
            match observe::observe(self.engine, &id)? {
                Some(observed) => samples.push(sample(&observed, &hierarchies)?),
                // It went meanwhile.
                None if containers.is_empty() => {}
                None => return Err(no_such(&id.short())),
            }
        }
        Ok(samples)
    }
}

fn sample(observed: &Observed, hierarchies: &Hierarchies) -> Result<StatsSample> {
    let config = &observed.config;
    let mut sample = StatsSample {
        id: config.id,
        name: config.name.to_string(),
        is_running: observed.is_running(),
        taken: Instant::now(),
        usage: Usage::default(),
        received: None,
        sent: None,
    };
    if let Some(init) = observed.init() {
        sample.usage = hierarchies.usage(&cgroup_path(config))?;
        let text = fs::read_to_string(format!("/proc/{}/net/dev", init.pid)).unwrap_or_default();
        // The pid could have been taken by another process meanwhile.
        if config.network != NetworkMode::Host && init.is_alive() {
            let (received, sent) = traffic(&text);
            (sample.received, sample.sent) = (Some(received), Some(sent));
        }
    }
    Ok(sample)
}

/// Bytes in and out over all links but loopback (proc_net_dev).
fn traffic(text: &str) -> (u64, u64) {
    let mut sum = (0u64, 0u64);
    for line in text.lines() {
        let Some((link, counters)) = line.split_once(':') else {
            continue;
        };
        if link.trim() == "lo" {
            continue;
        }
        let counters: Vec<u64> = counters
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        sum.0 = sum.0.saturating_add(counters.first().copied().unwrap_or(0));
        sum.1 = sum.1.saturating_add(counters.get(8).copied().unwrap_or(0));
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn loopback_is_no_network() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets\n\
            lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n\
            eth0: 7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (7, 9));
    }

    #[test]
    fn a_percent_is_of_one_processor() {
        let taken = Instant::now();
        let sample = |cpu, later| StatsSample {
            id: ContainerId::from_bytes([1; 32]),
            name: "a".into(),
            is_running: true,
            taken: taken + Duration::from_millis(later),
            usage: Usage {
                cpu_nanos: cpu,
                ..Usage::default()
            },
            received: None,
            sent: None,
        };
        let (one, two) = (sample(Some(0), 0), sample(Some(1_500_000_000), 1000));
        let percent = two.cpu_percent(&one).unwrap();
        assert!((percent - 150.0).abs() < 1e-9);
        assert!(sample(None, 5).cpu_percent(&one).is_none());
        assert!(one.cpu_percent(&one).is_none());
    }
}
