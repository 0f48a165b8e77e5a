//! The table for people and the JSON for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::engines::{Engine, Engines};
use super::statistics::Row;

pub(crate) struct Report {
    lines: Vec<String>,
    promises: Vec<(String, String, String, bool)>,
    rows: Vec<Value>,
    topic: String,
}

/// What one engine's containers cost: starts per second, bytes of disk, bytes of memory.
type Density = (Engine, f64, u64, Option<u64>);

impl Report {
    pub(crate) fn new(engines: &Engines) -> Self {
        let names: Vec<_> = engines
            .present(&Engine::ALL)
            .iter()
            .map(|engine| engine.name())
            .collect();
        Self {
            lines: vec![format!("measured in turn: {}", names.join(", "))],
            promises: Vec::new(),
            rows: Vec::new(),
            topic: String::new(),
        }
    }

    /// Medians of one command, and how many times longer each peer took.
    pub(crate) fn times(&mut self, what: &str, row: &Row) {
        what.clone_into(&mut self.topic);
        self.lines.push(format!("\n{what}"));
        let own = row.own();
        for (engine, samples) in &row.0 {
            let ratio = own.map_or(0.0, |own| {
                samples.median().as_secs_f64() / own.as_secs_f64()
            });
            self.lines.push(format!(
                "  {:<13} {:>10}   ({} to {}, {} times)   {ratio:>6.2} x",
                engine.name(),
                show(samples.median()),
                show(samples.percentile(25)),
                show(samples.percentile(75)),
                samples.all().len(),
            ));
            let all: Vec<_> = samples.all().iter().map(Duration::as_secs_f64).collect();
            self.rows.push(json!({ "what": what, "engine": engine.name(), "median": samples.median().as_secs_f64(), "seconds": all }));
        }
    }

    /// What the next promises are about.
    pub(crate) fn about(&mut self, topic: &str) {
        topic.clone_into(&mut self.topic);
    }

    /// One figure of each, such as runs per second.
    pub(crate) fn figures(&mut self, what: &str, unit: &str, row: &[(&str, f64)]) {
        what.clone_into(&mut self.topic);
        self.lines.push(format!("\n{what}"));
        for (name, figure) in row {
            self.lines
                .push(format!("  {name:<13} {figure:>8.2} {unit}"));
            self.rows
                .push(json!({ "what": what, "engine": name, "unit": unit, "figure": figure }));
        }
    }

    /// Promise: a figure of ours is at most so many times the peer's.
    pub(crate) fn at_most_figure(&mut self, what: &str, own: f64, peer: f64, factor: f64) {
        let ratio = own / peer;
        self.promise(
            what,
            format!("at most {factor} x"),
            format!("{ratio:.2} x"),
            ratio <= factor,
        );
    }

    pub(crate) fn density(&mut self, what: &str, row: &[Density]) {
        what.clone_into(&mut self.topic);
        self.lines.push(format!("\n{what}"));
        for (engine, rate, disk, memory) in row {
            let memory_text =
                memory.map_or_else(|| "-".to_owned(), |bytes| format!("{} KB", bytes >> 10));
            self.lines.push(format!("  {:<13} {rate:>7.1} starts/s   {:>6} KB of disk each   {memory_text:>8} of helper memory each", engine.name(), disk >> 10));
            self.rows.push(json!({ "what": what, "engine": engine.name(), "starts_per_second": rate, "disk_each": disk, "memory_each": memory }));
        }
    }

    /// Promise: at most so many times what the peer takes.
    pub(crate) fn at_most(&mut self, what: &str, row: &Row, peer: Engine, factor: f64) {
        self.at_most_time(what, row.own(), row.median(peer), factor);
    }

    pub(crate) fn at_most_time(
        &mut self,
        what: &str,
        own: Option<Duration>,
        peer: Option<Duration>,
        factor: f64,
    ) {
        if let (Some(own), Some(peer)) = (own, peer) {
            let ratio = own.as_secs_f64() / peer.as_secs_f64();
            self.promise(
                what,
                format!("at most {factor} x"),
                format!("{ratio:.2} x"),
                ratio <= factor,
            );
        }
    }

    /// Promise: so many times faster than the peer.
    pub(crate) fn times_faster(&mut self, what: &str, row: &Row, peer: Engine, factor: f64) {
        if let (Some(own), Some(peer)) = (row.own(), row.median(peer)) {
            let ratio = peer.as_secs_f64() / own.as_secs_f64();
            self.promise(
                what,
                format!("{factor} x faster"),
                format!("{ratio:.2} x"),
                ratio >= factor,
            );
        }
    }

    pub(crate) fn rate(&mut self, what: &str, own: Option<f64>, peer: Option<f64>, factor: f64) {
        if let (Some(own), Some(peer)) = (own, peer) {
            let ratio = own / peer;
            self.promise(
                what,
                format!("at least {factor} x"),
                format!("{ratio:.2} x"),
                ratio >= factor,
            );
        }
    }

    pub(crate) fn below(&mut self, what: &str, own: Option<Duration>, limit: Duration) {
        if let Some(own) = own {
            self.promise(
                what,
                format!("at most {}", show(limit)),
                show(own),
                own <= limit,
            );
        }
    }

    pub(crate) fn bytes(&mut self, what: &str, own: u64, limit: u64) {
        self.promise(
            what,
            format!("at most {} KB", limit >> 10),
            format!("{} KB", own >> 10),
            own <= limit,
        );
    }

    fn promise(&mut self, what: &str, promise: String, measured: String, kept: bool) {
        let what = format!("{}: {what}", self.topic);
        self.rows.push(
            json!({ "promise": what, "wanted": promise, "measured": measured, "kept": kept }),
        );
        self.promises.push((what, promise, measured, kept));
    }

    pub(crate) fn print(&self) {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        println!("\npromises (BUDGETS.md)");
        for (what, promise, measured, kept) in &self.promises {
            println!(
                "  {} {what}\n         wanted {promise}, measured {measured}",
                if *kept { "kept  " } else { "MISSED" }
            );
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.rows).unwrap_or_default()
    }
}

fn show(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.2} s")
    }
}
