//! `restart`: end and start under one lock, so that nobody comes in between
//! and a container made with `--rm` stays.

use std::time::Duration;

use sys::Result;

use super::attach::connect;
use super::start::Locked;
use super::stop::{end_by, no_such, suspended};
use super::{Containers, observe};

impl Containers<'_> {
    /// Ends it as `stop` does, if it runs, and starts it. Signal and timeout
    /// are its own if absent.
    pub fn restart(
        &self,
        container: &str,
        signal: Option<i32>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let id = self.resolve(container)?;
        let mut locked = Locked::take(self.engine, id)?;
        if locked.observed.is_suspended() {
            return Err(suspended(
                container,
                "resume it, or kill it to give its memory up and start it",
            ));
        }
        let config = locked.observed.config.clone();
        if let Some(channel) = connect(self.engine, &id)? {
            let signal = signal.unwrap_or(config.stop.signal);
            let timeout = timeout.unwrap_or(config.stop.timeout);
            self.engine
                .tell(&config, "kill", &[("signal", signal.to_string())]);
            end_by(&channel, &id, signal, timeout)?;
            self.engine.tell(&config, "stop", &[]);
            locked.observed =
                observe::observe(self.engine, &id)?.ok_or_else(|| no_such(container))?;
        }
        locked.start(None)?;
        self.engine.tell(&config, "restart", &[]);
        Ok(())
    }
}
