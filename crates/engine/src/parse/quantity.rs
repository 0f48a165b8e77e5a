//! Sizes, shares of processors, durations and points in time.

use std::time::Duration;

use state::Timestamp;
use sys::Result;

use super::invalid;

/// `512m`, `1.5g`, `64KiB`, `1048576`: bytes, in powers of 1024.
pub fn bytes(text: &str) -> Result<u64> {
    let wrong = || invalid("size", text, "write it as 512m or 2g");
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    decimal(number, 1 << shift).ok_or_else(wrong)
}

/// As [`bytes`], or `-1` for unlimited.
pub fn swap(text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(bytes(text)?).map_err(|_| invalid("size", text, "it is too large"))
}

/// `1.5` processors as thousand-millionths of one.
pub fn cpus(text: &str) -> Result<u64> {
    decimal(text.trim(), 1_000_000_000)
        .ok_or_else(|| invalid("number of processors", text, "write it as 2 or 0.5"))
}

/// Whole seconds, as `stop --time` has them; negative means for ever, which
/// is a century.
pub fn seconds(text: &str) -> Result<Duration> {
    match text.trim().parse::<i64>() {
        Ok(seconds) => Ok(Duration::from_secs(
            u64::try_from(seconds).unwrap_or(100 * 365 * 86_400),
        )),
        Err(_) => Err(invalid("number of seconds", text, "write a whole number")),
    }
}

/// Go's durations: `1m30s`, `500ms`, `1.5h`.
pub fn duration(text: &str) -> Result<Duration> {
    read_duration(text).ok_or_else(|| {
        let is_number = text.parse::<f64>().is_ok();
        let why = if is_number {
            "it has no unit: write it as 30s, 1m30s or 500ms"
        } else {
            "write it as 30s, 1m30s or 500ms"
        };
        invalid("duration", text, why)
    })
}

/// A point in time: RFC 3339 (date and time may be cut off, the zone is UTC
/// then), seconds since 1970, or a duration before `now`.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Some(nanos) = signed_seconds(text) {
        return Ok(Timestamp::from_nanos(nanos));
    }
    if let Some(before) = read_duration(text) {
        return Ok(now.minus(before));
    }
    // A cut-off time is completed with what a whole one ends with.
    let pattern = "0000-01-01T00:00:00Z";
    let body = text.strip_suffix('Z').unwrap_or(text);
    if [10, 13, 16, 19].contains(&body.len())
        && body.is_ascii()
        && let Ok(time) = format!("{body}{}", &pattern[body.len()..]).parse()
    {
        return Ok(time);
    }
    Err(invalid(
        "time",
        text,
        "write it as 2026-01-31T12:00:00Z, as seconds since 1970, or as 10m for ten minutes ago",
    ))
}

/// A decimal number times `unit`, rounded down; no sign, no exponent.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // 18 digits are more than any unit here can tell apart.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = if fraction.is_empty() {
        0
    } else {
        let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        fraction.parse::<u128>().ok()? * u128::from(unit) / scale
    };
    whole
        .checked_mul(unit)?
        .checked_add(u64::try_from(part).ok()?)
}

fn signed_seconds(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let nanos = i64::try_from(decimal(digits, 1_000_000_000)?).ok()?;
    Some(if negative { -nanos } else { nanos })
}

fn read_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(end);
        let length = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(decimal(number, unit)?)?;
        rest = after;
    }
    Some(Duration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_as_docker_does() {
        for (text, expected) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64k", 64 << 10),
            ("512m", 512 << 20),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("10b", 10),
            (".5k", 512),
            ("1t", 1 << 40),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "m",
            "-1",
            "1x",
            "1.2.3",
            "0x10",
            "999999999999p",
            "1e3",
            ".",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(swap("-1").unwrap(), -1);
        assert!(swap("-2").is_err());
    }

    #[test]
    fn reads_processors() {
        assert_eq!(cpus("0.5").unwrap(), 500_000_000);
        assert_eq!(cpus("2").unwrap(), 2_000_000_000);
        assert!(cpus("two").is_err() && cpus("-1").is_err() && cpus("").is_err());
    }

    #[test]
    fn reads_durations_and_times() {
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1.5h").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "5", "s", "1y", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("10m", "2026-01-31T11:50:00Z"),
            ("2026-01-30T00:00:00+01:00", "2026-01-29T23:00:00Z"),
            ("2026-01-30", "2026-01-30T00:00:00Z"),
            ("2026-01-30T07", "2026-01-30T07:00:00Z"),
            ("2026-01-30T07:08:09", "2026-01-30T07:08:09Z"),
            ("1.25", "1970-01-01T00:00:01.25Z"),
        ] {
            assert_eq!(
                time(text, now).unwrap(),
                expected.parse().unwrap(),
                "{text}"
            );
        }
        assert!(time("yesterday", now).is_err());
        assert_eq!(seconds("10").unwrap(), Duration::from_secs(10));
        assert!(seconds("-1").unwrap() > Duration::from_secs(1 << 30));
    }
}
