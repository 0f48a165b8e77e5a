//! `update`: other limits for a container that exists.

use std::io::Read as _;

use serde_json::Value;
use spec::runtime::{Linux, Resources, Spec, StateStatus};
use state::Record;
use sys::{Context as _, Error, ErrorKind, Result};

use super::args::{Global, Source, Update};
use super::container::Container;
use super::log;

/// More than any list of limits takes.
const INPUT_MAX: u64 = 1 << 20;

pub(super) fn update(global: &Global, update: &Update) -> Result<()> {
    let container = Container::load(global, &update.id)?;
    if container.status() == StateStatus::Stopped {
        return Err(container.conflict("has stopped; there is nothing to limit"));
    }
    if update.l3_cache_schema.is_some() || update.mem_bw_schema.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "--l3-cache-schema and --mem-bw-schema need linux.intelRdt, which is not supported yet",
        ));
    }
    let mut config = container.config()?;
    let asked = asked_for(update)?;
    let linux = config.linux.get_or_insert_default();
    let mut resources = asked.clone();
    complete(&mut resources, linux);
    let warnings = container.cgroup()?.update(&resources)?;
    log::warn(global, &warnings);
    record(&container, config, &asked)
}

fn asked_for(update: &Update) -> Result<Resources> {
    let base = match &update.from {
        None => return Ok(update.resources.clone()),
        Some(Source::File(path)) => Record::read(path)?,
        Some(Source::Stdin) => {
            let mut text = Vec::new();
            std::io::stdin()
                .take(INPUT_MAX)
                .read_to_end(&mut text)
                .context(|| "read limits from standard input")?;
            parse(&text).context(|| "limits on standard input")?
        }
    };
    merged(&base, &update.resources)
}

fn parse(text: &[u8]) -> Result<Resources> {
    serde_json::from_slice(text)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}

/// The kernel takes some limits only together: what is not said is as it was.
fn complete(resources: &mut Resources, linux: &Linux) {
    let before = linux.resources.as_ref();
    if let Some(memory) = &mut resources.memory
        && memory.swap.is_some()
        && memory.limit.is_none()
    {
        let before = before.and_then(|before| before.memory.as_ref());
        memory.limit = before.and_then(|memory| memory.limit);
    }
    if let Some(cpu) = &mut resources.cpu {
        let before = before.and_then(|before| before.cpu.as_ref());
        match (cpu.quota, cpu.period) {
            (Some(_), None) => cpu.period = before.and_then(|cpu| cpu.period),
            (None, Some(_)) => cpu.quota = before.and_then(|cpu| cpu.quota),
            _ => {}
        }
    }
}

fn record(container: &Container, mut config: Spec, asked: &Resources) -> Result<()> {
    let linux = config.linux.get_or_insert_default();
    let before = linux.resources.take().unwrap_or_default();
    linux.resources = Some(merged(&before, asked)?);
    container.write_config(&config)
}

/// `above` where it says something, `below` elsewhere.
fn merged(below: &Resources, above: &Resources) -> Result<Resources> {
    let value = |resources: &Resources| {
        serde_json::to_value(resources)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    };
    let mut all = value(below)?;
    lay_over(&mut all, value(above)?);
    serde_json::from_value(all).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::runtime::{Cpu, Memory};

    fn memory(limit: Option<i64>, swap: Option<i64>) -> Resources {
        Resources {
            memory: Some(Memory {
                limit,
                swap,
                ..Memory::default()
            }),
            ..Resources::default()
        }
    }

    #[test]
    fn what_is_not_said_stays() {
        let before = Resources {
            cpu: Some(Cpu {
                shares: Some(2),
                ..Cpu::default()
            }),
            ..memory(Some(1), Some(2))
        };
        let after = merged(&before, &memory(Some(5), None)).unwrap();
        assert_eq!(after.cpu, before.cpu);
        assert_eq!(after.memory, memory(Some(5), Some(2)).memory);
    }

    #[test]
    fn swap_alone_comes_with_the_limit_that_holds() {
        let linux = Linux {
            resources: Some(memory(Some(7), None)),
            ..Linux::default()
        };
        let mut resources = memory(None, Some(9));
        complete(&mut resources, &linux);
        assert_eq!(resources, memory(Some(7), Some(9)));
    }
}
