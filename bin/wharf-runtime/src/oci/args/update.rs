//! `update`: options become the part of the specification that they change.

use std::path::PathBuf;

use spec::runtime::{BlockIo, Cpu, Memory, Pids, Resources};
use sys::Result;

use super::id_and;
use super::words::{Words, usage};

/// Limits to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Update {
    pub(crate) id: String,
    /// All of them as JSON; the options say more.
    pub(crate) from: Option<Source>,
    pub(crate) resources: Resources,
    pub(crate) l3_cache_schema: Option<String>,
    pub(crate) mem_bw_schema: Option<String>,
}

/// Where JSON is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

pub(super) fn parse(words: &mut Words) -> Result<Update> {
    let mut update = Update::default();
    let (mut memory, mut cpu) = (Memory::default(), Cpu::default());
    let (mut pids, mut block_io) = (None, None);
    let id = id_and(words, |name, words| {
        match name {
            "resources" | "r" => {
                update.from = Some(match words.value()?.as_str() {
                    "-" => Source::Stdin,
                    path => Source::File(path.into()),
                });
            }
            "memory" => memory.limit = Some(bytes(words)?),
            "memory-swap" => memory.swap = Some(bytes(words)?),
            "memory-reservation" => memory.reservation = Some(bytes(words)?),
            "kernel-memory" => memory.kernel = Some(bytes(words)?),
            "kernel-memory-tcp" => memory.kernel_tcp = Some(bytes(words)?),
            "cpu-period" => cpu.period = Some(words.number()?),
            "cpu-quota" => cpu.quota = Some(words.number()?),
            "cpu-burst" => cpu.burst = Some(words.number()?),
            "cpu-share" | "cpu-shares" => cpu.shares = Some(words.number()?),
            "cpu-rt-period" => cpu.realtime_period = Some(words.number()?),
            "cpu-rt-runtime" => cpu.realtime_runtime = Some(words.number()?),
            "cpu-idle" => cpu.idle = Some(words.number()?),
            "cpuset-cpus" => cpu.cpus = Some(words.value()?),
            "cpuset-mems" => cpu.mems = Some(words.value()?),
            "pids-limit" => pids = Some(words.number()?),
            "blkio-weight" => block_io = Some(words.number()?),
            "l3-cache-schema" => update.l3_cache_schema = Some(words.value()?),
            "mem-bw-schema" => update.mem_bw_schema = Some(words.value()?),
            _ => return Err(words.unknown()),
        }
        Ok(())
    })?;
    update.id = id;
    update.resources = Resources {
        memory: Some(memory).filter(|memory| *memory != Memory::default()),
        cpu: Some(cpu).filter(|cpu| *cpu != Cpu::default()),
        pids: pids.map(|limit| Pids { limit: Some(limit) }),
        block_io: block_io.map(|weight| BlockIo {
            weight: Some(weight),
            ..BlockIo::default()
        }),
        ..Resources::default()
    };
    let nothing = Update {
        id: update.id.clone(),
        ..Update::default()
    };
    if update == nothing {
        return Err(usage("no limit to change; see update --help".to_owned()));
    }
    Ok(update)
}

/// `-1`, a number of bytes, or one with a unit: `64k`, `1.5G`, `2GiB`.
fn bytes(words: &mut Words) -> Result<i64> {
    let text = words.value()?;
    let wrong = || {
        usage(format!(
            "{text:?} is not a size such as 67108864, 64m or -1"
        ))
    };
    if let Ok(number) = text.parse::<i64>() {
        return if number >= -1 {
            Ok(number)
        } else {
            Err(wrong())
        };
    }
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = lower.split_at(
        lower
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(lower.len()),
    );
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * 2_f64.powi(shift);
    // Just below 2^63, where the range ends; fractions of bytes are cut.
    if bytes >= 9.2e18 {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation)]
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<i64> {
        bytes(&mut Words::new(vec![text.to_owned()]))
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("-1", -1),
            ("0", 0),
            ("4096", 4096),
            ("64k", 64 << 10),
            ("64KB", 64 << 10),
            ("1.5G", 3 << 29),
            ("2GiB", 2 << 30),
            ("1t", 1 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(size(text).unwrap(), expected, "{text}");
        }
        for text in ["", "-2", "x", "1x", "9000p", "1..2", "k"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_become_the_part_that_they_change() {
        let line = "--memory 64m --cpu-quota=5000 web --pids-limit -1 --blkio-weight 100";
        let mut words = Words::new(line.split_whitespace().map(str::to_owned).collect());
        let update = parse(&mut words).unwrap();
        assert_eq!(update.id, "web");
        assert_eq!(update.resources.memory.unwrap().limit, Some(64 << 20));
        assert_eq!(update.resources.cpu.unwrap().quota, Some(5000));
        assert_eq!(update.resources.pids.unwrap().limit, Some(-1));
        assert_eq!(update.resources.block_io.unwrap().weight, Some(100));
        assert!(parse(&mut Words::new(vec!["web".to_owned()])).is_err());
    }
}
