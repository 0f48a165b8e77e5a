//! Whole commands, measured beside the same commands of docker, podman, runc, crun, youki and bubblewrap: interleaved in one run, on one
//! file system, in one network namespace. Medians and ratios; never a lone time.
//!
//! Start with `make bench`: it installs the peers and gives this program namespaces of its own. Start reading at
//! [`run`].

mod clone;
mod engines;
mod images;
mod life;
mod network;
mod postgres;
mod report;
mod runtimes;
mod statistics;

use std::path::PathBuf;
use std::time::Duration;

use engines::{Engine, Engines};
use report::Report;
use statistics::Samples;

/// How long this may take.
#[derive(Clone, Copy)]
struct Effort {
    /// Rounds of short commands.
    rounds: usize,
    /// Containers that run at the same time.
    containers: u32,
    /// Containers of which the last ones are compared with the first.
    thousand: u32,
    /// Rounds of pull and push.
    transfers: usize,
}

const FULL: Effort = Effort {
    rounds: 25,
    containers: 100,
    thousand: 1000,
    transfers: 5,
};
const QUICK: Effort = Effort {
    rounds: 7,
    containers: 20,
    thousand: 300,
    transfers: 1,
};

/// Containers started by so many commands at a time.
const WORKERS: usize = 4;

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let effort = if arguments.iter().any(|word| word == "--quick") {
        QUICK
    } else {
        FULL
    };
    let value = |flag: &str| {
        arguments
            .iter()
            .position(|word| word == flag)
            .and_then(|at| arguments.get(at + 1))
    };
    let dir = value("--dir").map_or_else(|| PathBuf::from("/var/lib/wharf-bench"), PathBuf::from);
    let binaries = value("--bin").map_or_else(|| PathBuf::from("build"), PathBuf::from);
    let only = value("--only").map(String::as_str);
    let wanted = |row: &str| only.is_none_or(|only| only.split(',').any(|word| word == row));

    let engines = Engines::start(&dir, &binaries)?;
    let mut report = Report::new(&engines);
    if wanted("run") {
        run_true(&engines, effort, &mut report)?;
    }
    if wanted("exec") {
        exec_true(&engines, effort, &mut report)?;
    }
    if wanted("runtimes") {
        runtimes::measure(&engines, effort.rounds, &mut report)?;
    }
    if wanted("many") {
        many(&engines, effort, &mut report)?;
    }
    if wanted("life") {
        life::measure(&engines, effort.rounds, effort.thousand, &mut report)?;
    }
    if wanted("network") {
        network::measure(&engines, effort.rounds, &mut report)?;
    }
    // By itself: it takes its time, and is of a store with reflinks (`make bench-clone`).
    if only == Some("clone") {
        let image = value("--image").ok_or("no --image given: there is nothing to clone")?;
        clone::measure(&engines, image.as_ref(), effort.rounds, &mut report)?;
    }
    if wanted("images") {
        match value("--image") {
            Some(image) => {
                images::transfers(&engines, image.as_ref(), effort.transfers, &mut report)?;
            }
            None => eprintln!("bench: no --image given: pull and push are not measured"),
        }
    }
    report.print();
    let out = value("--json").map_or_else(|| PathBuf::from("build/bench.json"), PathBuf::from);
    std::fs::write(&out, report.json())
        .map_err(|error| format!("write {}: {error}", out.display()))?;
    println!("\nwritten: {}", out.display());
    Ok(())
}

/// `run --rm … true`, from the start of the command to its exit.
fn run_true(engines: &Engines, effort: Effort, report: &mut Report) -> Result<(), String> {
    let alone = engines.interleave(
        "run --rm --network none IMAGE true",
        effort.rounds,
        &Engine::ALL,
        |engine, round| {
            let name = format!("bench-{round}");
            engines.timed(
                engine,
                &engines.run_words(engine, &["--rm", "--network", "none"], &name, &["true"]),
            )
        },
    )?;
    let bridged = engines.interleave(
        "run --rm IMAGE true (default network)",
        effort.rounds,
        &Engine::WITH_IMAGES,
        |engine, round| {
            let name = format!("bench-{round}");
            engines.timed(
                engine,
                &engines.run_words(engine, &["--rm"], &name, &["true"]),
            )
        },
    )?;
    report.times("run --rm --network none IMAGE true", &alone);
    report.at_most("against crun run", &alone, Engine::Crun, 1.2);
    report.times_faster("than docker", &alone, Engine::Docker, 15.0);
    report.times_faster("than podman", &alone, Engine::Podman, 15.0);
    report.times("run --rm IMAGE true, default network", &bridged);
    let crun = alone.of(Engine::Crun).map(Samples::median);
    report.at_most_time(
        "against crun run (which makes no network)",
        bridged.median(Engine::Wharf),
        crun,
        2.0,
    );
    Ok(())
}

/// `exec C true` in a container that sleeps.
fn exec_true(engines: &Engines, effort: Effort, report: &mut Report) -> Result<(), String> {
    for engine in engines.present(&Engine::ALL) {
        engines.start_sleeper(engine, "sleeper", &["--network", "none"])?;
    }
    let samples = engines.interleave(
        "exec CONTAINER true",
        effort.rounds,
        &Engine::ALL,
        |engine, _| engines.timed(engine, &engines.words(engine, &["exec", "sleeper", "true"])),
    )?;
    for engine in engines.present(&Engine::ALL) {
        engines.remove_all(engine);
    }
    report.times("exec CONTAINER true", &samples);
    report.at_most("against crun exec", &samples, Engine::Crun, 1.0);
    Ok(())
}

/// Many detached containers: how fast they start, what they cost, how fast they are listed.
fn many(engines: &Engines, effort: Effort, report: &mut Report) -> Result<(), String> {
    let count = effort.containers;
    let mut rates = Vec::new();
    for (label, options) in [
        ("default network", &[][..]),
        ("--network none", &["--network", "none"][..]),
    ] {
        let mut row = Vec::new();
        for engine in engines.present(&Engine::WITH_IMAGES) {
            eprintln!(
                "bench: {count} detached containers, {label}: {}",
                engine.name()
            );
            let before = engines.disk(engine);
            let took = engines.start_many(engine, 0..count, WORKERS, options)?;
            let each = engines.disk(engine).saturating_sub(before) / u64::from(count);
            let memory = Engines::helper_memory(engine);
            row.push((
                engine,
                f64::from(count) / took.as_secs_f64(),
                each,
                memory.map(|bytes| bytes / u64::from(count)),
            ));
            if label == "default network" && engine == Engine::Wharf {
                let (ps, inspect) = listing(engines, effort)?;
                report.times(&format!("ps -a with {count} containers"), &ps);
                report.below("ps", ps.median(Engine::Wharf), Duration::from_millis(5));
                report.times(&format!("inspect with {count} containers"), &inspect);
                report.below(
                    "inspect",
                    inspect.median(Engine::Wharf),
                    Duration::from_millis(5),
                );
            }
            engines.remove_all(engine);
        }
        rates.push((label, row));
    }
    for (label, row) in &rates {
        report.density(
            &format!("{count} detached containers, {WORKERS} at a time, {label}"),
            row,
        );
    }
    let (label, row) = &rates[0];
    report.about(&format!("{count} detached containers, {label}"));
    let rate = |wanted: Engine| {
        row.iter()
            .find(|(engine, ..)| *engine == wanted)
            .map(|(_, rate, ..)| *rate)
    };
    report.rate(
        "start rate against docker's",
        rate(Engine::Wharf),
        rate(Engine::Docker),
        8.0,
    );
    if let Some((_, _, disk, memory)) = row.iter().find(|(engine, ..)| *engine == Engine::Wharf) {
        report.bytes("disk of one container", *disk, 64 << 10);
        report.bytes(
            "memory of Wharf for one container (Pss)",
            memory.unwrap_or(0),
            350 << 10,
        );
    }
    Ok(())
}

fn listing(
    engines: &Engines,
    effort: Effort,
) -> Result<(statistics::Row, statistics::Row), String> {
    let one = [Engine::Wharf];
    let ps = engines.interleave("ps -a", effort.rounds, &one, |engine, _| {
        engines.timed(engine, &engines.words(engine, &["ps", "-a"]))
    })?;
    let inspect = engines.interleave("inspect", effort.rounds, &one, |engine, _| {
        engines.timed(engine, &engines.words(engine, &["inspect", "many-1"]))
    })?;
    Ok((ps, inspect))
}
