//! Clones of a PostgreSQL whose database and buffers are there, beside `docker run` of an image with the same database.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::engines::{Engine, Engines};
use super::postgres::ask_until_answered;
use super::report::Report;
use super::statistics::Samples;

const ENGINES: [Engine; 2] = [Engine::Wharf, Engine::Docker];
/// Where the originals and those that are measured are published, by engine: what docker's proxy leaves on a port is in
/// nobody's way so.
const ORIGINAL: u16 = 15431;
const ONE: u16 = 15432;
const FIRST: u16 = 15500;
const OF_DOCKER: u16 = 1000;
/// So many at once, whose memory and disk are looked at.
const TOGETHER: u16 = 10;
/// About 200 MB.
const ROWS: u32 = 1_500_000;
const FEW: &str = "select count(*) from boats where id <= 100";

pub(crate) fn measure(
    engines: &Engines,
    image: &Path,
    rounds: usize,
    report: &mut Report,
) -> Result<(), String> {
    load(engines, image)?;
    for engine in engines.present(&ENGINES) {
        eprintln!("bench: a database of {}", engine.name());
        prepare(engines, engine)?;
    }
    gap(engines, rounds, report)?;
    first_answer(engines, rounds, report)?;
    together(engines, report)
}

/// The same archive for both.
fn load(engines: &Engines, image: &Path) -> Result<(), String> {
    let archive = engines.path("postgres.tar");
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci-archive:{}", image.display()))
        .arg(format!("docker-archive:{archive}:bench/postgres:15"))
        .status()
        .map_err(|error| format!("start skopeo: {error}"))?;
    if !copied.success() {
        return Err("skopeo cannot copy the image".to_owned());
    }
    for engine in engines.present(&ENGINES) {
        engines.check(
            engine,
            &engines.words(engine, &["load", "-q", "-i", &archive]),
        )?;
    }
    fs::remove_file(&archive).map_err(|error| format!("remove {archive}: {error}"))
}

/// A database in a container that runs, and what later ones are made of: a template, an image.
fn prepare(engines: &Engines, engine: Engine) -> Result<(), String> {
    let original = of(engine, ORIGINAL);
    let port = format!("127.0.0.1:{original}:5432");
    let start = [
        "run",
        "-d",
        "--name",
        "db",
        "-p",
        &port,
        "bench/postgres:15",
    ];
    let server = ["postgres", "-c", "shared_buffers=128MB"];
    engines.timed(
        engine,
        &engines.words(engine, &[&start[..], &server].concat()),
    )?;
    let fill = format!(
        "create table boats (id int primary key, name text, owner text);
         insert into boats select n, 'boat ' || n, md5(n::text) from generate_series(1, {ROWS}) n"
    );
    let questions = [
        &fill,
        "vacuum analyze boats",
        "checkpoint",
        "select count(*) from boats",
    ];
    for question in questions {
        ask_until_answered(local(original), question)?;
    }
    if engine == Engine::Docker {
        // An orderly end: what is started of it needs no repair.
        engines.check(engine, &engines.words(engine, &["stop", "db"]))?;
        engines.check(
            engine,
            &engines.words(engine, &["commit", "db", "bench/prepared"]),
        )?;
        return engines.check(engine, &engines.words(engine, &["rm", "db"]));
    }
    engines
        .timed(
            engine,
            &engines.words(engine, &["clone", "--keep-template=warm", "db", "0"]),
        )
        .map(|_| ())
}

/// The longest that a client of the original waits while it is cloned.
fn gap(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let mut gaps = Samples::default();
    for _ in 0..rounds.div_ceil(3) {
        let done = AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !done.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    ask_until_answered(local(ORIGINAL), "select 1")?;
                    longest = longest.max(start.elapsed());
                }
                Ok::<_, String>(longest)
            });
            let cloned = engines.timed(
                Engine::Wharf,
                &engines.words(
                    Engine::Wharf,
                    &["clone", "--name", "c", "-p", "127.0.0.1:15432:5432", "db"],
                ),
            );
            done.store(true, Ordering::Relaxed);
            let longest = client.join().map_err(|_| "the client died".to_owned())?;
            cloned.and(longest)
        })?;
        gaps.add(longest);
        engines.check(
            Engine::Wharf,
            &engines.words(Engine::Wharf, &["rm", "-f", "c"]),
        )?;
    }
    let what = "the longest question to the original while it is cloned";
    let milliseconds = gaps.median().as_secs_f64() * 1000.0;
    report.figures(what, "ms", &[("wharf", milliseconds)]);
    Ok(())
}

fn first_answer(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let what = "a prepared PostgreSQL, to its first answer";
    let row = engines.interleave(what, rounds, &ENGINES, |engine, _| {
        let start = Instant::now();
        let port = of(engine, ONE);
        one_more(engines, engine, "one", port)?;
        let answer = ask_until_answered(local(port), FEW)?;
        let took = start.elapsed();
        if answer != "100" {
            return Err(format!("{}: {answer} rows of 100", engine.name()));
        }
        engines.check(engine, &engines.words(engine, &["rm", "-f", "one"]))?;
        // What is made beforehand for the next one is made in between, as between two tests.
        std::thread::sleep(Duration::from_millis(300));
        Ok(took)
    })?;
    report.times(what, &row);
    report.below("clone", row.own(), Duration::from_millis(25));
    report.times_faster("than docker run", &row, Engine::Docker, 10.0);
    Ok(())
}

fn one_more(engines: &Engines, engine: Engine, name: &str, port: u16) -> Result<Duration, String> {
    let port = format!("127.0.0.1:{port}:5432");
    let words = match engine {
        Engine::Wharf => engines.words(engine, &["clone", "--name", name, "-p", &port, "warm"]),
        _ => engines.words(
            engine,
            &["run", "-d", "--name", name, "-p", &port, "bench/prepared"],
        ),
    };
    engines.timed(engine, &words)
}

fn together(engines: &Engines, report: &mut Report) -> Result<(), String> {
    let mut rows = [Vec::new(), Vec::new(), Vec::new()];
    for engine in engines.present(&ENGINES) {
        let (before, disk, start) = (memory()?, used(engines)?, Instant::now());
        for number in 0..TOGETHER {
            one_more(
                engines,
                engine,
                &format!("c-{number}"),
                of(engine, FIRST + number),
            )?;
        }
        for number in 0..TOGETHER {
            ask_until_answered(local(of(engine, FIRST + number)), FEW)?;
        }
        // In kilobytes: a number that any float can hold.
        let each = |all: u64| {
            let kilobytes = u32::try_from(all / 1000 / u64::from(TOGETHER)).unwrap_or(u32::MAX);
            f64::from(kilobytes) / 1000.0
        };
        rows[0].push((
            engine.name(),
            start.elapsed().as_secs_f64() * 1000.0 / f64::from(TOGETHER),
        ));
        rows[1].push((engine.name(), each(memory()?.saturating_sub(before))));
        rows[2].push((engine.name(), each(used(engines)?.saturating_sub(disk))));
        for number in 0..TOGETHER {
            engines.check(
                engine,
                &engines.words(engine, &["rm", "-f", &format!("c-{number}")]),
            )?;
        }
    }
    let label = |what: &str| format!("{TOGETHER} of them one after another: {what} for each");
    for (what, unit, row, limit) in [
        ("time", "ms", &rows[0], None),
        (
            "memory (Pss), once it has answered",
            "MB",
            &rows[1],
            Some(6.0),
        ),
        ("disk", "MB", &rows[2], Some(2.0)),
    ] {
        report.figures(&label(what), unit, row);
        if let (Some(limit), Some((_, own))) = (limit, row.first()) {
            report.at_most_figure(&format!("against {limit} MB"), *own, limit, 1.0);
        }
    }
    engines.remove_all(Engine::Wharf);
    engines.check(
        Engine::Wharf,
        &engines.words(Engine::Wharf, &["template", "rm", "warm"]),
    )
}

fn of(engine: Engine, port: u16) -> u16 {
    match engine {
        Engine::Docker => port + OF_DOCKER,
        _ => port,
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Bytes of memory (Pss) of all processes of PostgreSQL.
fn memory() -> Result<u64, String> {
    let mut kilobytes = 0;
    let processes = fs::read_dir("/proc").map_err(|error| error.to_string())?;
    for process in processes.flatten() {
        let read = |name: &str| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        if read("comm").trim() == "postgres" {
            let rollup = read("smaps_rollup");
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            let pss = pss.and_then(|pss| pss.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kilobytes += pss.unwrap_or(0);
        }
    }
    Ok(kilobytes << 10)
}

/// Bytes that are taken of the file system: where files share blocks, counting file by file says too much.
fn used(engines: &Engines) -> Result<u64, String> {
    let dir = engines.path("");
    let output = Command::new("sh")
        .args([
            "-c",
            "sync -f \"$0\"; df -B1 --output=used \"$0\" | tail -n 1",
            &dir,
        ])
        .output()
        .map_err(|error| format!("start df: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim()
        .parse()
        .map_err(|_| format!("df of {dir}: {text}"))
}
