//! Many commands at once on the same store: one name has one owner, nothing is lost, nothing is left.

use std::collections::BTreeSet;

use black_box_tests::{BUSYBOX, bed};

#[test]
fn twenty_want_one_name() {
    bed!(|bed| {
        let started: Vec<_> = (0..20)
            .map(|_| {
                bed.command(&[
                    "run",
                    "-d",
                    "--name",
                    "only",
                    "--network",
                    "none",
                    BUSYBOX,
                    "sleep",
                    "1000",
                ])
                .start()
            })
            .collect();
        let outcomes: Vec<_> = started
            .into_iter()
            .map(black_box_tests::Started::finish)
            .collect();
        let winners: Vec<_> = outcomes
            .iter()
            .filter(|outcome| outcome.status.success())
            .collect();
        assert_eq!(winners.len(), 1);
        for loser in outcomes.iter().filter(|outcome| !outcome.status.success()) {
            loser.fails(125, &["only", "in use"]);
        }
        assert_eq!(bed.run(&["ps", "-aq", "--no-trunc"]).ok(), winners[0].ok());
    });
}

#[test]
fn twenty_runs_at_once() {
    bed!(|bed| {
        let started: Vec<_> = (0..20)
            .map(|number| {
                let script =
                    format!("echo {number}; ip -4 addr show eth0 | grep -o 'inet [0-9.]*'");
                bed.command(&["run", "--rm", BUSYBOX, "sh", "-c", &script])
                    .start()
            })
            .collect();
        for (number, running) in started.into_iter().enumerate() {
            let said = running.finish().ok();
            assert!(said.starts_with(&format!("{number}\ninet ")), "{said}");
        }
        bed.nothing_runs();
        assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    });
}

#[test]
fn addresses_are_never_given_twice() {
    bed!(|bed| {
        let started: Vec<_> = (0..16)
            .map(|_| {
                bed.command(&["run", "-d", BUSYBOX, "sleep", "1000"])
                    .start()
            })
            .collect();
        let addresses: BTreeSet<_> = started
            .into_iter()
            .map(|running| bed.inspect(&running.finish().ok(), "{{.NetworkSettings.IPAddress}}"))
            .collect();
        assert_eq!(addresses.len(), 16, "{addresses:?}");
    });
}

#[test]
fn everything_with_one_container_at_once() {
    bed!(|bed| {
        // Start, stop, remove, look, all together, a few rounds: each ends, in one of the ways it may.
        for _ in 0..3 {
            bed.run(&["create", "--name", "torn", BUSYBOX, "sleep", "1000"])
                .ok();
            let verbs: &[&[&str]] = &[
                &["start", "torn"],
                &["stop", "-t", "0", "torn"],
                &["start", "torn"],
                &["exec", "torn", "true"],
                &["kill", "torn"],
                &["inspect", "torn"],
                &["ps", "-a"],
                &["logs", "torn"],
                &["start", "torn"],
                &["rm", "-f", "torn"],
            ];
            let started: Vec<_> = verbs
                .iter()
                .map(|words| bed.command(words).start())
                .collect();
            for running in started {
                let outcome = running.finish();
                assert!(outcome.status.code().is_some(), "{}", outcome.story());
                assert!(!outcome.error().contains("panicked"), "{}", outcome.story());
            }
            bed.run(&["rm", "-f", "torn"]);
            assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
            bed.nothing_runs();
        }
    });
}

#[test]
fn a_port_has_one_owner() {
    bed!(|bed| {
        let started: Vec<_> = (0..8)
            .map(|_| {
                bed.command(&[
                    "run",
                    "-d",
                    "-p",
                    "127.0.0.1:7000:80",
                    BUSYBOX,
                    "sleep",
                    "1000",
                ])
                .start()
            })
            .collect();
        let outcomes: Vec<_> = started
            .into_iter()
            .map(black_box_tests::Started::finish)
            .collect();
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| outcome.status.success())
                .count(),
            1
        );
        for loser in outcomes.iter().filter(|outcome| !outcome.status.success()) {
            loser.fails(125, &["7000", "in use"]);
        }
        // A container that could not start is not left lying about running.
        assert_eq!(bed.run(&["ps", "-q"]).ok().lines().count(), 1);
    });
}

#[test]
fn loading_and_removing_an_image_at_once() {
    bed!(|bed| {
        let archive = bed.dir().join("busybox.tar");
        let archive = archive.to_str().unwrap();
        let mut started = Vec::new();
        for number in 0..12 {
            started.push(match number % 3 {
                0 => bed.command(&["load", "-q", "-i", archive]).start(),
                1 => bed
                    .command(&[
                        "run",
                        "--rm",
                        "--network",
                        "none",
                        "--pull",
                        "never",
                        BUSYBOX,
                        "true",
                    ])
                    .start(),
                _ => bed.command(&["rmi", "busybox"]).start(),
            });
        }
        for running in started {
            let outcome = running.finish();
            // A run may find no image; it may not find half an image.
            assert!(!outcome.error().contains("panicked"), "{}", outcome.story());
            if let Some(126 | 127) = outcome.status.code() {
                panic!("half an image: {}", outcome.story());
            }
        }
        bed.run(&["load", "-q", "-i", archive]).ok();
        bed.run(&["run", "--rm", BUSYBOX, "true"]).ok();
    });
}
