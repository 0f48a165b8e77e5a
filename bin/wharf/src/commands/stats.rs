//! `wharf stats`: a table that is drawn anew each second. The first one
//! comes at once: it needs two looks, and a tenth of a second between them.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use engine::containers::stats::StatsSample;
use serde_json::{Value, json};
use state::ContainerId;
use sys::{Context as _, Result};

use super::create::short;
use super::{Call, DONE};
use crate::args::Given as _;
use crate::output::list::ListFormat;
use crate::output::{self, human};

const COLUMNS: &str = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADERS: [(&str, &str); 9] = [
    ("BlockIO", "BLOCK I/O"),
    ("CPUPerc", "CPU %"),
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET I/O"),
    ("PIDs", "PIDS"),
];

const FIRST_LOOK: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let given = call.given;
    let names = given.texts("CONTAINER");
    let format = ListFormat::parse(given.text("format"), COLUMNS)?;
    let (all, truncate) = (given.on("all"), !given.on("no-trunc"));
    let engine = call.engine()?;
    let host = engine.info()?.mem_total;
    let look = || {
        engine
            .containers()
            .stats(&names, all)
            .context(|| "look at the containers")
    };
    let redraws = std::io::stdout().is_terminal() && given.text("format").is_none();
    let mut earlier = by_id(look()?);
    std::thread::sleep(FIRST_LOOK);
    loop {
        let samples = look()?;
        let rows: Vec<Value> = samples
            .iter()
            .map(|sample| row(sample, earlier.get(&sample.id), host, truncate))
            .collect();
        let text = format.render(&rows, &HEADERS)?;
        if redraws && !given.on("no-stream") {
            output::print(&format!("{CLEAR}{text}"))?;
        } else {
            output::print(&text)?;
        }
        if given.on("no-stream") {
            return Ok(DONE);
        }
        earlier = by_id(samples);
        std::thread::sleep(PERIOD);
    }
}

fn by_id(samples: Vec<StatsSample>) -> HashMap<ContainerId, StatsSample> {
    samples
        .into_iter()
        .map(|sample| (sample.id, sample))
        .collect()
}

fn row(sample: &StatsSample, earlier: Option<&StatsSample>, host: u64, truncate: bool) -> Value {
    let usage = &sample.usage;
    let limit = usage.memory_limit.unwrap_or(host).min(host);
    #[allow(clippy::cast_precision_loss)] // two decimals are shown
    let memory = usage
        .memory
        .map(|used| used as f64 * 100.0 / (limit.max(1)) as f64);
    let percent = |value: Option<f64>| match value {
        Some(value) => format!("{value:.2}%"),
        None => "--".to_owned(),
    };
    let pair = |one: Option<u64>, other: Option<u64>, show: fn(u64) -> String| match (one, other) {
        (Some(one), Some(other)) => format!("{} / {}", show(one), show(other)),
        _ => "-- / --".to_owned(),
    };
    let id = if truncate {
        short(&sample.id)
    } else {
        sample.id.to_string()
    };
    json!({
        "BlockIO": pair(usage.read, usage.written, human::size),
        "CPUPerc": percent(earlier.and_then(|earlier| sample.cpu_percent(earlier))),
        "Container": id,
        "ID": id,
        "MemPerc": percent(memory),
        "MemUsage": pair(usage.memory, sample.is_running.then_some(limit), human::precise_memory),
        "Name": sample.name,
        "NetIO": pair(sample.received, sample.sent, human::size),
        "PIDs": usage.pids.map_or_else(|| "--".to_owned(), |pids| pids.to_string()),
    })
}
