//! The probe of a container's health: the image's, with the request's changes
//! and Docker's defaults. Pure.

use std::time::Duration;

use spec::image::Healthcheck;
use state::{HealthAction, HealthConfig};
use sys::{Error, ErrorKind, Result};

/// `--health-*` and `--no-healthcheck`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRequest {
    /// A line for the shell; the image's probe if absent.
    pub command: Option<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
    pub on_failure: HealthAction,
    /// No probe, whatever the image says.
    pub off: bool,
}

/// Docker takes no shorter times.
const SHORTEST: Duration = Duration::from_millis(1);

/// `None` if it is not probed.
pub(super) fn health(
    request: &HealthRequest,
    image: Option<&Healthcheck>,
) -> Result<Option<HealthConfig>> {
    let anything = HealthRequest {
        off: request.off,
        ..HealthRequest::default()
    };
    if request.off {
        if *request != anything {
            return Err(invalid("--no-healthcheck excludes the --health options"));
        }
        return Ok(None);
    }
    let nothing = Healthcheck::default();
    let base = image.unwrap_or(&nothing);
    let test = match &request.command {
        Some(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        None => base.test.clone(),
    };
    match test.first().map(String::as_str) {
        None | Some("NONE") => {
            if request.on_failure != HealthAction::None {
                return Err(invalid(
                    "--health-on-failure needs a health check: the image has none, \
                     --health-cmd gives one",
                ));
            }
            return Ok(None);
        }
        Some("CMD" | "CMD-SHELL") if test.len() > 1 => {}
        Some(_) => return Err(invalid("the health check of the image names no command")),
    }
    let time = |own: Option<Duration>, image: u64, default: u64, what: &str| {
        let time = own.unwrap_or_else(|| Duration::from_nanos(image));
        if time.is_zero() {
            return Ok(Duration::from_secs(default));
        }
        if time < SHORTEST {
            return Err(invalid(&format!(
                "the {what} of a health check is at least 1ms"
            )));
        }
        Ok(time)
    };
    Ok(Some(HealthConfig {
        interval: time(request.interval, base.interval, 30, "interval")?,
        timeout: time(request.timeout, base.timeout, 30, "timeout")?,
        start_period: time(request.start_period, base.start_period, 0, "start period")?,
        start_interval: time(
            request.start_interval,
            base.start_interval,
            5,
            "start interval",
        )?,
        retries: match request.retries.unwrap_or(base.retries) {
            0 => 3,
            retries => retries,
        },
        on_failure: request.on_failure,
        test,
    }))
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_laid_over_the_image() {
        let image = Healthcheck {
            test: vec!["CMD".into(), "check".into()],
            interval: 5_000_000_000,
            ..Healthcheck::default()
        };
        let request = HealthRequest {
            retries: Some(1),
            ..HealthRequest::default()
        };
        let health = health(&request, Some(&image)).unwrap().unwrap();
        assert_eq!(health.test, ["CMD", "check"]);
        assert_eq!(health.interval, Duration::from_secs(5));
        assert_eq!(health.timeout, Duration::from_secs(30));
        assert_eq!((health.start_period, health.retries), (Duration::ZERO, 1));
    }

    #[test]
    fn there_may_be_none() {
        let none = HealthRequest::default();
        let off = HealthRequest {
            off: true,
            ..HealthRequest::default()
        };
        let image = Healthcheck {
            test: vec!["CMD-SHELL".into(), "true".into()],
            ..Healthcheck::default()
        };
        assert_eq!(health(&none, None).unwrap(), None);
        assert_eq!(health(&off, Some(&image)).unwrap(), None);
        for bad in [
            HealthRequest {
                retries: Some(1),
                ..off
            },
            HealthRequest {
                on_failure: HealthAction::Stop,
                ..none.clone()
            },
            HealthRequest {
                command: Some("x".into()),
                timeout: Some(Duration::from_nanos(1)),
                ..none
            },
        ] {
            assert!(health(&bad, None).is_err(), "{bad:?}");
        }
    }
}
