//! `run`, `kill` and signals.

use black_box_tests::{Bundle, bed, eventually};

#[test]
fn signals_reach_the_container() {
    bed!(|bed| {
        let bundle = Bundle::shell(
            bed,
            "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done",
        );
        let dir = bundle.dir().to_str().unwrap();
        let running = bundle.command(&["run", "-b", dir, bundle.id()]).start();
        running.wait_for("ready");
        running.signal(rustix::process::Signal::TERM);
        let outcome = running.finish();
        assert_eq!(outcome.code(5), "ready\ngot it");
        bundle
            .runtime(&["state", bundle.id()])
            .fails(1, &["not exist"]);
    });
}

#[test]
fn kept_when_asked() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["sh", "-c", "exit 3"]);
        let dir = bundle.dir().to_str().unwrap();
        bundle
            .runtime(&["run", "--keep", "-b", dir, bundle.id()])
            .code(3);
        assert_eq!(bundle.status(), "stopped");
        bundle.runtime(&["delete", bundle.id()]).ok();
    });
}

#[test]
fn kill_reaches_one_or_all() {
    bed!(|bed| {
        // Without a pid namespace the others outlive their first process.
        let mut bundle = Bundle::shell(bed, "sleep 1000 & sleep 1000 & wait");
        bundle.config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|one| one["type"] != "pid");
        super::start(&bundle);
        let pids = || {
            let pids = bundle
                .runtime(&["ps", "--format", "json", bundle.id()])
                .json();
            // One that has ended is listed until whoever is above collects it.
            let alive = |pid: &&serde_json::Value| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                stat.is_ok_and(|stat| !stat.contains(") Z "))
            };
            pids.as_array().unwrap().iter().filter(alive).count()
        };
        eventually(20, "three processes", || (pids() == 3).then_some(()));
        bundle.runtime(&["kill", bundle.id(), "TERM"]).ok();
        eventually(20, "the first to end", || (pids() == 2).then_some(()));
        bundle.runtime(&["kill", "--all", bundle.id(), "9"]).ok();
        eventually(20, "all to end", || (pids() == 0).then_some(()));
        bundle
            .runtime(&["kill", bundle.id(), "NOSUCH"])
            .fails(1, &["nosuch"]);
        bundle.delete();
    });
}

#[test]
fn timings_name_the_phases() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["sh", "-c", "echo out; exit 3"]);
        let dir = bundle.dir().to_str().unwrap();
        let outcome = bundle.runtime(&["--timings", "run", "-b", dir, bundle.id()]);
        assert_eq!(outcome.code(3), "out");
        let said = outcome.error();
        let phases: Vec<&str> = said
            .lines()
            .skip(1)
            .filter_map(|line| line.split("  ").next())
            .collect();
        let wanted = [
            "bundle", "clone", "set up", "record", "start", "program", "delete", "end", "all",
        ];
        assert_eq!(phases, wanted, "{said}");
    });
}

/// Programs that are gone before anybody looks: each end is seen, and nothing is left. WHARF_RUNS sets how many.
#[test]
fn many_that_end_at_once() {
    bed!(|bed| {
        let runs: usize = std::env::var("WHARF_RUNS").map_or(400, |text| text.parse().unwrap());
        let bundle = Bundle::new(bed, &["sh", "-c", "exit 42"]);
        // Writes the configuration, which all of them read.
        bundle.run().code(42);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let dir = bundle.dir().to_str().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= runs {
                            return;
                        }
                        let id = format!("many-{number}");
                        black_box_tests::Invocation::new(&black_box_tests::binary("wharf-runtime"))
                            .arguments(&["--root", "/run/oci", "run", "-b", dir, &id])
                            .run()
                            .code(42);
                    }
                });
            }
        });
        assert_eq!(bundle.runtime(&["list", "-q"]).ok(), "");
    });
}
