//! The days of a container: a thousand of them, their ends, their logs, their files.

use std::fs;
use std::time::Duration;

use super::WORKERS;
use super::engines::{Engine, Engines};
use super::report::Report;
use super::statistics::{Row, Samples};

const WITH_DOCKER: [Engine; 2] = [Engine::Wharf, Engine::Docker];
/// Ends on SIGTERM, as a server does.
const SERVER: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
/// Bytes of lines that go to a log, and of a file that is copied.
const LOG: u32 = 100_000_000;
const FILE_MB: &str = "1000";

pub(crate) fn measure(
    engines: &Engines,
    rounds: usize,
    thousand: u32,
    report: &mut Report,
) -> Result<(), String> {
    ends(engines, rounds, report)?;
    logs(engines, rounds.div_ceil(5), report)?;
    copies(engines, rounds.div_ceil(5), report)?;
    a_thousand(engines, thousand, rounds, report)
}

/// `stop` of what ends when it is told to, `rm -f` of what runs.
fn ends(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    for (what, verb, limit) in [
        ("stop", &["stop", "end"][..], 20),
        ("rm -f", &["rm", "-f", "end"], 15),
    ] {
        let row = engines.interleave(what, rounds, &WITH_DOCKER, |engine, _| {
            let start = engines.run_words(engine, &["-d"], "end", &["sh", "-c", SERVER]);
            engines.timed(engine, &start)?;
            // The trap is set.
            std::thread::sleep(Duration::from_millis(100));
            let took = engines.timed(engine, &engines.words(engine, verb))?;
            engines.remove_all(engine);
            Ok(took)
        })?;
        let what = format!("{what} of a program that ends on SIGTERM");
        report.times(&what, &row);
        report.below(verb[0], row.own(), Duration::from_millis(limit));
    }
    Ok(())
}

/// A container that does nothing but write lines, from its start to its end.
fn logs(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let write = format!("yes 'a line of a log as a server may write it' | head -c {LOG}");
    let row = engines.interleave("100 MB of log", rounds, &WITH_DOCKER, |engine, _| {
        let words = engines.run_words(
            engine,
            &["-d", "--network", "none", "--log-driver", "json-file"],
            "log",
            &["sh", "-c", &write],
        );
        let started = engines.timed(engine, &words)?;
        let waited = engines.timed(engine, &engines.words(engine, &["wait", "log"]))?;
        engines.remove_all(engine);
        Ok(started + waited)
    })?;
    report.times("100 MB of lines to a json-file log", &row);
    report.times_faster("than docker", &row, Engine::Docker, 3.0);
    Ok(())
}

/// A large file out of a container and into one.
fn copies(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let outside = engines.path("copied");
    for engine in engines.present(&WITH_DOCKER) {
        engines.start_sleeper(engine, "files", &["--network", "none"])?;
        let count = format!("count={FILE_MB}");
        let fill = [
            "exec",
            "files",
            "dd",
            "if=/dev/urandom",
            "of=/big",
            "bs=1M",
            &count,
        ];
        engines.check(engine, &engines.words(engine, &fill))?;
    }
    let mut rows = Vec::new();
    for (what, from, to) in [
        (
            "cp of 1 GB out of a container",
            "files:/big",
            outside.as_str(),
        ),
        (
            "cp of 1 GB into a container",
            outside.as_str(),
            "files:/back",
        ),
    ] {
        let row = engines.interleave(what, rounds, &WITH_DOCKER, |engine, _| {
            if to == outside {
                let _ = fs::remove_file(&outside);
            } else {
                let words = engines.words(engine, &["exec", "files", "rm", "-f", "/back"]);
                engines.check(engine, &words)?;
            }
            engines.timed(engine, &engines.words(engine, &["cp", from, to]))
        })?;
        rows.push((what, row));
    }
    for engine in engines.present(&WITH_DOCKER) {
        engines.remove_all(engine);
    }
    let _ = fs::remove_file(&outside);
    for (what, row) in rows {
        report.times(what, &row);
        report.times_faster("than docker", &row, Engine::Docker, 3.0);
    }
    Ok(())
}

/// Whether the last ones start as fast as the first, what each takes, how long a list of them takes.
fn a_thousand(
    engines: &Engines,
    count: u32,
    rounds: usize,
    report: &mut Report,
) -> Result<(), String> {
    let engine = Engine::Wharf;
    let part = count / 10;
    let before = engines.disk(engine);
    let mut rates = Vec::new();
    for number in 0..10 {
        eprintln!(
            "bench: containers {} to {}",
            number * part,
            (number + 1) * part
        );
        let these = number * part..(number + 1) * part;
        let took = engines.start_many(engine, these, WORKERS, &["--network", "none"])?;
        rates.push(f64::from(part) / took.as_secs_f64());
    }
    let what = format!("{count} detached containers without a network");
    let memory = Engines::helper_memory(engine).unwrap_or(0) / u64::from(count);
    let disk = engines.disk(engine).saturating_sub(before) / u64::from(count);
    let (first, last) = (rates[0], rates[9]);
    report.density(&what, &[(engine, last, disk, Some(memory))]);
    report.rate(
        "start rate of the last tenth against the first's",
        Some(last),
        Some(first),
        0.9,
    );
    let mut ps = Samples::default();
    for _ in 0..rounds {
        ps.add(engines.timed(engine, &engines.words(engine, &["ps"]))?);
    }
    let what = format!("ps with {count} containers");
    let row = Row(vec![(engine, ps)]);
    report.times(&what, &row);
    report.below("ps", row.own(), Duration::from_millis(30));
    engines.remove_all(engine);
    Ok(())
}
