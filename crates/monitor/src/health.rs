//! When probes are due and what they mean: pure, time is an input (since the
//! monitor began). As Docker: a container is *starting* until a probe is
//! successful or `retries` of them failed in a row; failures in the start
//! period do not count as long as none was successful.

use std::time::Duration;

use state::{HealthConfig, HealthRecord, HealthResult, HealthStatus};

/// Results that are kept.
const KEPT: usize = 5;

/// What is known of one container's health.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    config: HealthConfig,
    record: HealthRecord,
    /// Of this run.
    began: Duration,
    /// Of the next probe; none while one is under way.
    due: Option<Duration>,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    AsBefore,
    /// The status is another one now.
    Changed(HealthStatus),
}

impl Health {
    pub fn new(config: HealthConfig) -> Self {
        Self {
            config,
            record: unknown(),
            began: Duration::ZERO,
            due: None,
        }
    }

    pub fn config(&self) -> &HealthConfig {
        &self.config
    }

    pub fn record(&self) -> &HealthRecord {
        &self.record
    }

    /// When the next probe is to be run.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// A run begins: nothing is known of it.
    pub fn run_began(&mut self, at: Duration) {
        self.record = unknown();
        self.began = at;
        self.due = at.checked_add(self.pause(at));
    }

    /// The run is over.
    pub fn run_ended(&mut self) {
        self.due = None;
    }

    /// Nothing can be found out now.
    pub fn put_off(&mut self, at: Duration) {
        self.due = at.checked_add(self.pause(at));
    }

    pub fn probe_began(&mut self) {
        self.due = None;
    }

    /// `began` and `at` are when the probe began and ended.
    pub fn probe_ended(&mut self, result: HealthResult, began: Duration, at: Duration) -> Verdict {
        let before = self.record.status;
        if result.exit_code == 0 {
            self.record.failing_streak = 0;
            self.record.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || !self.is_start_period(began) {
            self.record.failing_streak = self.record.failing_streak.saturating_add(1);
            if self.record.failing_streak >= self.config.retries.max(1) {
                self.record.status = HealthStatus::Unhealthy;
            }
        }
        if self.record.log.len() == KEPT {
            self.record.log.remove(0);
        }
        self.record.log.push(result);
        self.due = at.checked_add(self.pause(at));
        if self.record.status == before {
            Verdict::AsBefore
        } else {
            Verdict::Changed(self.record.status)
        }
    }

    fn is_start_period(&self, at: Duration) -> bool {
        at.saturating_sub(self.began) < self.config.start_period
    }

    fn pause(&self, at: Duration) -> Duration {
        let is_starting = self.record.status == HealthStatus::Starting;
        if is_starting && self.is_start_period(at) && !self.config.start_interval.is_zero() {
            self.config.start_interval
        } else {
            self.config.interval
        }
    }
}

fn unknown() -> HealthRecord {
    HealthRecord {
        status: HealthStatus::Starting,
        failing_streak: 0,
        log: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use state::{HealthAction, Timestamp};

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn health(start_period: u64) -> Health {
        let mut health = Health::new(HealthConfig {
            test: Vec::new(),
            interval: seconds(30),
            timeout: seconds(10),
            start_period: seconds(start_period),
            start_interval: seconds(2),
            retries: 2,
            on_failure: HealthAction::None,
        });
        health.run_began(seconds(100));
        health
    }

    fn probe(health: &mut Health, exit_code: i32) -> Verdict {
        let at = health.due().unwrap();
        health.probe_began();
        assert_eq!(health.due(), None);
        let time = Timestamp::from_nanos(0);
        let result = HealthResult {
            start: time,
            end: time,
            exit_code,
            output: String::new(),
        };
        health.probe_ended(result, at, at + seconds(1))
    }

    #[test]
    fn turns_healthy_with_a_success_and_unhealthy_after_failures_in_a_row() {
        use HealthStatus::{Healthy, Unhealthy};
        let mut health = health(0);
        assert_eq!(health.due(), Some(seconds(130)));
        assert_eq!(probe(&mut health, 0), Verdict::Changed(Healthy));
        assert_eq!(health.due(), Some(seconds(161)));
        assert_eq!(probe(&mut health, 1), Verdict::AsBefore);
        assert_eq!(probe(&mut health, 0), Verdict::AsBefore);
        assert_eq!(probe(&mut health, 1), Verdict::AsBefore);
        assert_eq!(probe(&mut health, -1), Verdict::Changed(Unhealthy));
        assert_eq!(health.record().failing_streak, 2);
        assert_eq!(probe(&mut health, 0), Verdict::Changed(Healthy));
        assert_eq!(health.record().log.len(), KEPT);
        health.run_began(seconds(500));
        assert_eq!(health.record(), &unknown());
    }

    #[test]
    fn the_start_period_forgives_until_the_first_success() {
        let mut health = health(10);
        assert_eq!(health.due(), Some(seconds(102)));
        for _ in 0..3 {
            assert_eq!(probe(&mut health, 1), Verdict::AsBefore);
        }
        assert_eq!(health.record().failing_streak, 0);
        // 102, 105, 108 are over; the one at 111 is late.
        assert_eq!(probe(&mut health, 1), Verdict::AsBefore);
        assert_eq!(health.record().failing_streak, 1);
        assert_eq!(health.due(), Some(seconds(142)));
        assert_eq!(
            probe(&mut health, 1),
            Verdict::Changed(HealthStatus::Unhealthy)
        );
    }
}
