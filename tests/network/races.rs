//! Many at once, and those that are killed meanwhile.

use black_box_tests::{BUSYBOX, bed, eventually};

#[test]
fn twenty_connect_and_disconnect_at_once() {
    bed!(|bed| {
        bed.run(&["network", "create", "shared"]).ok();
        let names: Vec<String> = (0..5).map(|number| format!("c{number}")).collect();
        for name in &names {
            bed.start(&["--name", name]);
        }
        std::thread::scope(|scope| {
            for worker in 0..20 {
                let name = &names[worker % names.len()];
                scope.spawn(move || {
                    for _ in 0..3 {
                        // Two for one container exclude each other; each is told in a sentence, or succeeds.
                        for verb in ["connect", "disconnect"] {
                            let outcome = bed.run(&["network", verb, "shared", name]);
                            if !outcome.status.success() {
                                let said = outcome.error();
                                assert!(said.contains("on network shared"), "{said}");
                            }
                        }
                    }
                });
            }
        });
        for name in &names {
            let listed = bed
                .run(&["network", "inspect", "-f", "{{len .Containers}}", "shared"])
                .ok();
            let is_on = bed.inspect(name, "{{len .NetworkSettings.Networks}}") == "2";
            if is_on {
                bed.run(&["network", "disconnect", "shared", name]).ok();
            } else {
                bed.run(&["network", "disconnect", "shared", name])
                    .fails(1, &["is not on"]);
            }
            drop(listed);
            let links = bed.run(&["exec", name, "ls", "/sys/class/net"]).ok();
            assert_eq!(
                links.split_whitespace().collect::<Vec<_>>(),
                ["eth0", "lo"],
                "{name}"
            );
        }
        assert_eq!(
            bed.run(&["network", "inspect", "-f", "{{len .Containers}}", "shared"])
                .ok(),
            "0"
        );
        bed.run(&["network", "rm", "shared"]).ok();
    });
}

#[test]
fn who_is_killed_while_it_works_leaves_nothing() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        bed.start(&["--name", "stays", "--network", "net"]);
        for step in 0..12_u64 {
            let started = bed
                .command(&["run", "-d", "--network", "net", BUSYBOX, "sleep", "1000"])
                .start();
            std::thread::sleep(std::time::Duration::from_millis(step * 3));
            started.signal(rustix::process::Signal::KILL);
            drop(started);
        }
        for step in 0..6_u64 {
            let name = format!("made{step}");
            let started = bed.command(&["network", "create", &name]).start();
            std::thread::sleep(std::time::Duration::from_millis(step));
            started.signal(rustix::process::Signal::KILL);
            drop(started);
        }
        let ids = bed.run(&["ps", "-aq", "--no-trunc"]).ok();
        for id in ids.lines() {
            if bed.inspect(id, "{{.Name}}") != "/stays" {
                bed.run(&["rm", "-f", id]).ok();
            }
        }
        bed.run(&["system", "repair"]).ok();
        eventually(5, "one lease", || {
            let leases = std::fs::read_dir(bed.root().join("leases/net"))
                .unwrap()
                .count();
            (leases == 1).then_some(())
        });
        let links = bed.host("busybox", &["ip", "link"]).ok();
        // That of the container, and that of the resolver.
        assert_eq!(links.matches(": wh0a").count(), 2, "{links}");
        bed.run(&["network", "prune", "-f"]).ok();
        let left: Vec<_> = std::fs::read_dir(bed.root().join("networks"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("made"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}
