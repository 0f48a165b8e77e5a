//! Descriptors that a container's program gets from our caller: sockets in
//! the way of systemd's socket activation (`LISTEN_FDS`), then those of
//! `--preserve-fds`.

use sys::{Error, ErrorKind, Result};

/// Descriptors from 3 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inherited {
    listening: u32,
    preserved: u32,
}

/// Looks whether they are there.
pub(super) fn inherited(preserved: u32) -> Result<Inherited> {
    let variable = |name: &str| std::env::var(name).ok();
    let own = std::process::id;
    let listening = listening(variable("LISTEN_PID"), variable("LISTEN_FDS"), own)?;
    let inherited = Inherited {
        listening,
        preserved,
    };
    sys::inherited::verify(inherited.count())?;
    Ok(inherited)
}

/// sd_listen_fds(3): only if they are meant for this process.
fn listening(pid: Option<String>, count: Option<String>, own: fn() -> u32) -> Result<u32> {
    let (Some(pid), Some(count)) = (pid, count) else {
        return Ok(0);
    };
    if pid.parse() != Ok(own()) {
        return Ok(0);
    }
    match count.parse() {
        Ok(count @ 0..=32) => Ok(count),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("LISTEN_FDS={count} is not a number of descriptors up to 32"),
        )),
    }
}

impl Inherited {
    pub(super) fn count(self) -> u32 {
        self.listening + self.preserved
    }

    /// For the program, which is process 1 of its namespace.
    pub(super) fn variables(self) -> Vec<String> {
        if self.listening == 0 {
            return Vec::new();
        }
        vec![
            format!("LISTEN_FDS={}", self.listening),
            "LISTEN_PID=1".to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_is_meant_for_it() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(listening(text("7"), text("2"), || 7).unwrap(), 2);
        assert_eq!(listening(text("8"), text("2"), || 7).unwrap(), 0);
        assert_eq!(listening(None, text("2"), || 7).unwrap(), 0);
        assert_eq!(listening(text("7"), None, || 7).unwrap(), 0);
        assert!(listening(text("7"), text("-1"), || 7).is_err());
        assert!(listening(text("7"), text("33"), || 7).is_err());
    }
}
