//! Networks: what making one takes, what a published port adds to a start, how much goes through a port and between two containers,
//! how long a name takes.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::engines::{Engine, Engines, stop};
use super::report::Report;
use super::statistics::Samples;

/// What one engine, or the bare wire, carried.
struct Carried(&'static str, Vec<f64>);

/// The other host, and we as it sees us.
const OUTSIDE: &str = "192.0.2.2";
const HOST: &str = "192.0.2.1";
/// What the receivers listen on, in containers and beside the bare wire.
const PORT: &str = "5001";
/// Seconds of traffic for one figure.
const SECONDS: &str = "2";

pub(crate) fn measure(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    create_and_remove(engines, rounds, report)?;
    published_start(engines, rounds, report)?;
    for engine in engines.present(&Engine::WITH_IMAGES) {
        engines.import_traffic(engine)?;
    }
    let rounds = rounds.div_ceil(5);
    through_a_port(engines, rounds, report)?;
    between_containers(engines, rounds, report)?;
    names(engines, rounds, report)
}

fn create_and_remove(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let what = "network create, network rm";
    let row = engines.interleave(what, rounds, &Engine::WITH_IMAGES, |engine, _| {
        let create = engines.timed(
            engine,
            &engines.words(engine, &["network", "create", "net"]),
        )?;
        let rm = engines.timed(engine, &engines.words(engine, &["network", "rm", "net"]))?;
        Ok(create + rm)
    })?;
    report.times(what, &row);
    report.below("both", row.own(), Duration::from_millis(10));
    Ok(())
}

/// What a published port adds to the start of a container.
fn published_start(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let start = |engine: Engine, options: &[&str]| {
        let words = engines.run_words(
            engine,
            &[&["-d"], options].concat(),
            "port",
            &["sleep", "9"],
        );
        let took = engines.timed(engine, &words)?;
        engines.remove_all(engine);
        Ok::<_, String>(took)
    };
    // The two in turn, so that what slows the machine down slows both.
    let mut without = Samples::default();
    let what = "run -d -p 18081:80 IMAGE sleep";
    let row = engines.interleave(what, rounds, &Engine::WITH_IMAGES, |engine, _| {
        if engine == Engine::Wharf {
            without.add(start(engine, &["--network", "none"])?);
        }
        start(engine, &["-p", "18081:80"])
    })?;
    report.times(what, &row);
    let more = row.own().map(|own| own.saturating_sub(without.median()));
    report.below(
        "more than without a network",
        more,
        Duration::from_millis(4),
    );
    Ok(())
}

/// From another host to a published port, beside the same traffic over nothing but the wire.
fn through_a_port(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let what = "from another host through a published port";
    eprintln!("bench: {what}");
    let outside = OtherHost::start()?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let bare = Command::new(&own)
        .args(["traffic", "serve", PORT])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("start a receiver: {error}"))?;
    let mut bare = Running(Some(bare));
    let mut ports = vec![("a veth pair", PORT.to_owned())];
    for (number, engine) in engines
        .present(&Engine::WITH_IMAGES)
        .into_iter()
        .enumerate()
    {
        let port = (15_001 + number).to_string();
        start_receiver(engines, engine, &["-p", &format!("{port}:{PORT}")])?;
        ports.push((engine.name(), port));
    }
    let mut carried: Vec<Carried> = ports
        .iter()
        .map(|(name, _)| Carried(name, Vec::new()))
        .collect();
    for _ in 0..rounds {
        for ((_, port), carried) in ports.iter().zip(&mut carried) {
            carried.1.push(outside.send(&format!("{HOST}:{port}"))?);
        }
    }
    bare.end();
    for engine in engines.present(&Engine::WITH_IMAGES) {
        engines.remove_all(engine);
    }
    let rates = medians(carried);
    report.figures(what, "GB/s", &rates);
    report.rate(
        "against a veth pair",
        of(&rates, "wharf"),
        of(&rates, "a veth pair"),
        0.95,
    );
    report.rate(
        "against docker",
        of(&rates, "wharf"),
        of(&rates, "docker"),
        1.3,
    );
    Ok(())
}

fn between_containers(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    let what = "between two containers of the default network";
    eprintln!("bench: {what}");
    let present = engines.present(&Engine::WITH_IMAGES);
    let mut addresses = Vec::new();
    for engine in &present {
        start_receiver(engines, *engine, &[])?;
        let words = [
            "inspect",
            "-f",
            "{{.NetworkSettings.IPAddress}}",
            "receiver",
        ];
        addresses.push(engines.output(*engine, &engines.words(*engine, &words))?);
        engines.start_traffic(*engine, "sender", &[], &["serve", PORT])?;
    }
    let mut carried: Vec<Carried> = present
        .iter()
        .map(|engine| Carried(engine.name(), Vec::new()))
        .collect();
    for _ in 0..rounds {
        for ((engine, address), carried) in present.iter().zip(&addresses).zip(&mut carried) {
            let to = format!("{address}:{PORT}");
            let words = ["exec", "sender", "traffic", "traffic", "send", &to, SECONDS];
            let rate = engines.output(*engine, &engines.words(*engine, &words))?;
            carried.1.push(parse(&rate)?);
        }
    }
    for engine in present {
        engines.remove_all(engine);
    }
    let rates = medians(carried);
    report.figures(what, "GB/s", &rates);
    report.rate(
        "against docker",
        of(&rates, "wharf"),
        of(&rates, "docker"),
        1.5,
    );
    Ok(())
}

/// A container's name, asked for by another one on a network of their own.
fn names(engines: &Engines, rounds: usize, report: &mut Report) -> Result<(), String> {
    // Podman's plugin for names is no part of what Debian installs with it.
    let wanted = [Engine::Wharf, Engine::Docker];
    for engine in engines.present(&wanted) {
        engines.check(
            engine,
            &engines.words(engine, &["network", "create", "names"]),
        )?;
        start_receiver(engines, engine, &["--network", "names"])?;
        engines.start_traffic(engine, "sender", &["--network", "names"], &["serve", PORT])?;
    }
    let what = "a name of another container, median of 500";
    let row = engines.interleave(what, rounds, &wanted, |engine, _| {
        let words = [
            "exec", "sender", "traffic", "traffic", "lookup", "receiver", "500",
        ];
        let nanoseconds = engines.output(engine, &engines.words(engine, &words))?;
        Ok(Duration::from_secs_f64(parse(&nanoseconds)? / 1e9))
    })?;
    for engine in engines.present(&wanted) {
        engines.remove_all(engine);
        engines.check(engine, &engines.words(engine, &["network", "rm", "names"]))?;
    }
    report.times(what, &row);
    report.below("a name", row.own(), Duration::from_micros(60));
    Ok(())
}

fn start_receiver(engines: &Engines, engine: Engine, options: &[&str]) -> Result<(), String> {
    engines.start_traffic(engine, "receiver", options, &["serve", PORT])
}

/// Medians in GB per second.
fn medians(carried: Vec<Carried>) -> Vec<(&'static str, f64)> {
    carried
        .into_iter()
        .map(|Carried(name, mut rates)| {
            rates.sort_by(f64::total_cmp);
            (
                name,
                rates.get(rates.len() / 2).copied().unwrap_or_default() / 1e9,
            )
        })
        .collect()
}

fn of(rates: &[(&'static str, f64)], wanted: &str) -> Option<f64> {
    rates
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, rate)| *rate)
}

fn parse(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("not a figure: {text}"))
}

/// A process that ends with us, whatever happens.
struct Running(Option<Child>);

impl Running {
    fn end(&mut self) {
        stop(self.0.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A network namespace at the other end of a veth pair.
struct OtherHost(Running);

impl OtherHost {
    fn start() -> Result<Self, String> {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "1000"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("start another host: {error}"))?;
        let pid = child.id();
        let host = Self(Running(Some(child)));
        let own = fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?;
        // It has its namespace once unshare(1) got that far.
        for _ in 0..200 {
            if fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != own) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let script = format!(
            "set -e
            ip link add outer type veth peer name inner netns {pid}
            ip addr add {HOST}/24 dev outer
            ip link set outer up
            nsenter -t {pid} -n ip addr add {OUTSIDE}/24 dev inner
            nsenter -t {pid} -n ip link set inner up
            nsenter -t {pid} -n ip route add default via {HOST}"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .map_err(|error| format!("connect another host: {error}"))?;
        if output.status.success() {
            return Ok(host);
        }
        Err(format!(
            "connect another host: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }

    /// Bytes per second from there.
    fn send(&self, to: &str) -> Result<f64, String> {
        let pid = self
            .0
            .0
            .as_ref()
            .map(Child::id)
            .unwrap_or_default()
            .to_string();
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let output = Command::new("nsenter")
            .args(["-t", &pid, "-n"])
            .arg(own)
            .args(["traffic", "send", to, SECONDS])
            .output()
            .map_err(|error| format!("send to {to}: {error}"))?;
        if output.status.success() {
            return parse(&String::from_utf8_lossy(&output.stdout));
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
