//! `wharf-runtime` alone beside the other runtimes, all on the bundle that `runc spec` makes.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::engines::{Engine, Engines};
use super::report::Report;

/// Containers at once where throughput is measured.
const WORKERS: usize = 8;
/// Runs in a row where processor time is measured, whose unit is a hundredth of a second.
const BATCH: u32 = 40;

pub(super) fn measure(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    run(engines, rounds, report)?;
    create_start_delete(engines, rounds, report)?;
    exec(engines, rounds, report)?;
    throughput(engines, report)?;
    processor_time(engines, report)
}

/// Those that have the verbs of the OCI command line.
const WITH_VERBS: [Engine; 4] = [Engine::Runtime, Engine::Crun, Engine::Runc, Engine::Youki];

fn run(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let what = "run of a bundle with true, to its exit";
    let row = engines.interleave(what, rounds, &Engine::RUNTIMES, |engine, round| {
        let words = engines.run_words(engine, &[], &format!("r{round}"), &["true"]);
        engines.timed(engine, &words)
    })?;
    report.times(what, &row);
    report.at_most("against crun run", &row, Engine::Crun, 0.6);
    Ok(())
}

fn create_start_delete(
    engines: &Engines,
    rounds: usize,
    report: &mut Report,
) -> Result<(), String> {
    let what = "create, start and delete --force of a bundle";
    let row = engines.interleave(what, rounds, &WITH_VERBS, |engine, round| {
        let bundle = engines.bundle(engine, "true");
        let id = format!("c{round}");
        let mut took = Duration::ZERO;
        for verb in [
            &["create", "-b", &bundle, &id][..],
            &["start", &id],
            &["delete", "--force", &id],
        ] {
            took += engines.timed(engine, &engines.words(engine, verb))?;
        }
        Ok(took)
    })?;
    report.times(what, &row);
    report.at_most("against crun", &row, Engine::Crun, 0.6);
    Ok(())
}

fn exec(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let what = "exec of true in a bundle that sleeps";
    let present = engines.present(&WITH_VERBS);
    for engine in &present {
        engines.start_sleeper(*engine, "sleeper", &[])?;
    }
    let row = engines.interleave(what, rounds, &WITH_VERBS, |engine, _| {
        engines.timed(engine, &engines.words(engine, &["exec", "sleeper", "true"]))
    });
    for engine in present {
        engines.remove_all(engine);
    }
    let row = row?;
    report.times(what, &row);
    report.at_most("against crun exec", &row, Engine::Crun, 0.7);
    Ok(())
}

/// Runs per second of several workers that start one after the other, each runtime three times in turn.
fn throughput(engines: &Engines, report: &mut Report) -> Result<(), String> {
    let what = format!("runs of true a second, {WORKERS} workers");
    eprintln!("bench: {what}");
    let mut rates: Vec<(Engine, f64)> = Vec::new();
    for turn in 0..3 {
        for engine in engines.present(&Engine::RUNTIMES) {
            let rate = rate_of(engines, engine, turn)?;
            match rates.iter_mut().find(|(known, _)| *known == engine) {
                Some((_, best)) => *best = best.max(rate),
                None => rates.push((engine, rate)),
            }
        }
    }
    report.figures(&what, "runs/s", &named(&rates));
    let of = |wanted| rates.iter().find(|(engine, _)| *engine == wanted);
    let rate = |wanted| of(wanted).map(|(_, rate)| *rate);
    report.rate(
        "against crun",
        rate(Engine::Runtime),
        rate(Engine::Crun),
        2.0,
    );
    Ok(())
}

fn rate_of(engines: &Engines, engine: Engine, turn: usize) -> Result<f64, String> {
    let count = 8 * WORKERS;
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(());
                        }
                        let id = format!("w{turn}-{number}");
                        let words = engines.run_words(engine, &[], &id, &["true"]);
                        engines.timed(engine, &words)?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| "a worker died".to_owned())
                .and_then(|result: Result<(), String>| result)
        })
    })?;
    Ok(f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / start.elapsed().as_secs_f64())
}

/// User and system time of one run with all its processes.
fn processor_time(engines: &Engines, report: &mut Report) -> Result<(), String> {
    let what = "processor time of a run of true";
    eprintln!("bench: {what}");
    let mut row = Vec::new();
    for engine in engines.present(&Engine::RUNTIMES) {
        let before = children_ticks()?;
        for number in 0..BATCH {
            let words = engines.run_words(engine, &[], &format!("p{number}"), &["true"]);
            engines.timed(engine, &words)?;
        }
        let ticks = children_ticks()? - before;
        // A tick is a hundredth of a second on every Linux.
        row.push((engine, ticks * 10.0 / f64::from(BATCH)));
    }
    report.figures(what, "ms", &named(&row));
    let of = |wanted| row.iter().find(|(engine, _)| *engine == wanted);
    if let (Some((_, own)), Some((_, crun))) = (of(Engine::Runtime), of(Engine::Crun)) {
        report.at_most_figure("against crun", *own, *crun, 0.5);
    }
    Ok(())
}

fn named(row: &[(Engine, f64)]) -> Vec<(&'static str, f64)> {
    row.iter()
        .map(|(engine, figure)| (engine.name(), *figure))
        .collect()
}

/// Processor time of our children that ended (proc(5), `cutime` and `cstime`).
fn children_ticks() -> Result<f64, String> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| error.to_string())?;
    // The name, in parentheses, may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(13).take(2);
    Ok(ticks.filter_map(|field| field.parse::<f64>().ok()).sum())
}
