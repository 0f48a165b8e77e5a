//! Several at once: names, hosts, ports, addresses; all of them or none.

use std::collections::BTreeSet;

use black_box_tests::{BUSYBOX, bed};

use crate::{count, counter, counts_on, inside, templates};

#[test]
fn each_is_its_own_and_the_container_runs_on() {
    bed!(|bed| {
        counter(
            bed,
            "one",
            &[
                "-p",
                "127.0.0.1:7041:80",
                "--label",
                "a=b",
                "--hostname",
                "host",
            ],
        );
        let before = count(bed, "one");
        let ids = bed.run(&["clone", "--name-prefix", "c", "one", "3"]).ok();
        let ids: Vec<&str> = ids.lines().collect();
        counts_on(bed, "one");
        assert_eq!(bed.inspect("one", "{{.Config.Hostname}}"), "host");
        let mut ports = BTreeSet::from(["127.0.0.1:7041".to_owned()]);
        let mut addresses = BTreeSet::from([bed.inspect("one", "{{.NetworkSettings.IPAddress}}")]);
        for (number, id) in ids.iter().enumerate() {
            let name = &format!("c-{}", number + 1);
            assert_eq!(bed.inspect(name, "{{.Id}}"), *id);
            counts_on(bed, name);
            // It goes on; it does not begin.
            let log = bed.run(&["logs", name]).ok();
            let first: u64 = log.lines().next().unwrap().parse().unwrap();
            assert!(first > before, "{first} {before}");
            assert_eq!(bed.inspect(name, "{{.Config.Labels.a}}"), "b");
            let said = inside(
                bed,
                name,
                "hostname; cat /etc/hostname; grep -q \"$(hostname)\" /etc/hosts && echo found",
            );
            let own = &id[..12];
            assert_eq!(said, format!("{own}\n{own}\nfound"));
            let port = bed.run(&["port", name]).ok();
            let port = port.strip_prefix("80/tcp -> ").unwrap().to_owned();
            assert!(
                port.starts_with("127.0.0.1:") && ports.insert(port),
                "{ports:?}"
            );
            assert!(addresses.insert(bed.inspect(name, "{{.NetworkSettings.IPAddress}}")));
            assert_eq!(
                inside(bed, name, "ip -o -4 addr show eth0 | grep -c ' inet '"),
                "1"
            );
        }
        assert_eq!((ports.len(), addresses.len()), (4, 4));
        // The container may end; its clones stay, and go with their last one's files.
        bed.run(&["rm", "-f", "one"]).ok();
        counts_on(bed, "c-2");
        assert_eq!(templates(bed), 1);
        bed.run(&["rm", "-f", "c-1", "c-2"]).ok();
        counts_on(bed, "c-3");
        assert_eq!(templates(bed), 1);
        bed.run(&["rm", "-f", "c-3"]).ok();
        assert_eq!(templates(bed), 0);
        bed.nothing_runs();
    });
}

#[test]
fn all_of_them_or_none() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "/data", "-p", "80"]);
        bed.run(&["create", "--name", "c-3", BUSYBOX, "true"]).ok();
        bed.run(&["clone", "--name-prefix", "c", "one", "4"])
            .fails(125, &["the name c-3 is already in use"]);
        assert_eq!(
            bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok(),
            "c-3\none"
        );
        assert_eq!(templates(bed), 0);
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok().lines().count(), 1);
        counts_on(bed, "one");
        let taken = std::net::TcpListener::bind("127.0.0.1:7042").unwrap();
        bed.run(&["clone", "-p", "127.0.0.1:7042:80", "one"])
            .fails(125, &["port 7042 on 127.0.0.1 is already in use"]);
        drop(taken);
        assert_eq!(bed.run(&["ps", "-aq"]).ok().lines().count(), 2);
        bed.run(&["rm", "-f", "-v", "one", "c-3"]).ok();
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok(), "");
    });
}

#[test]
fn what_is_asked_for_wrongly() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        for (arguments, words) in [
            (vec!["none"], "no such container: none"),
            (vec!["one", "0"], "from 1 to 10000"),
            (vec!["one", "many"], "a number, not \"many\""),
            (vec!["--name", "a", "one", "2"], "--name-prefix"),
            (
                vec!["--name", "a", "--name-prefix", "b", "one"],
                "choose one of them",
            ),
            (vec!["-p", "8080:80", "one", "2"], "same port of the host"),
            (
                vec!["--hostname", "x", "one", "2"],
                "a host name is for one clone",
            ),
            (vec!["--hostname", "x y", "one"], "is not a host name"),
            (
                vec!["--name", "one", "one"],
                "the name one is already in use",
            ),
        ] {
            let mut words_given = vec!["clone"];
            words_given.extend(arguments);
            bed.run(&words_given).fails(125, &[words]);
        }
        bed.run(&["stop", "-t", "0", "one"]).ok();
        bed.run(&["clone", "one"])
            .fails(125, &["container one is not running"]);
        assert_eq!(bed.run(&["ps", "-aq"]).ok().lines().count(), 1);
        assert_eq!(templates(bed), 0);
    });
}

#[test]
fn a_clone_is_a_container_like_any_other() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&["clone", "--name", "two", "--hostname", "other", "one"])
            .ok();
        assert_eq!(inside(bed, "two", "hostname"), "other");
        inside(bed, "two", "echo 2 > /file");
        // Cloned, checkpointed, suspended, committed, stopped, started, renamed.
        bed.run(&["clone", "--name", "three", "two"]).ok();
        counts_on(bed, "three");
        assert_eq!(inside(bed, "three", "cat /file"), "2");
        bed.run(&["checkpoint", "--leave-running", "three", "kept"])
            .ok();
        bed.run(&["restore", "kept", "--name", "four"]).ok();
        counts_on(bed, "four");
        assert_eq!(inside(bed, "four", "cat /file"), "2");
        bed.run(&["suspend", "three"]).ok();
        bed.run(&["resume", "three"]).ok();
        counts_on(bed, "three");
        bed.run(&["commit", "three", "image"]).ok();
        let said = bed.run(&["run", "--rm", "--network", "none", "image", "cat", "/file"]);
        assert_eq!(said.ok(), "2");
        assert!(bed.run(&["diff", "three"]).ok().contains("A /file"));
        bed.run(&["rename", "three", "drei"]).ok();
        bed.run(&["stop", "-t", "0", "drei", "two"]).ok();
        bed.run(&["rm", "two"]).ok();
        bed.run(&["start", "drei"]).ok();
        assert_eq!(inside(bed, "drei", "cat /file"), "2");
        // With --rm it goes with its end, and its files with it.
        bed.run(&["clone", "--rm", "--name", "five", "drei"]).ok();
        assert_eq!(templates(bed), 2);
        bed.run(&["stop", "-t", "0", "five"]).ok();
        bed.run(&["rm", "-f", "drei"]).ok();
        assert_eq!(templates(bed), 0);
        assert_eq!(
            bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok(),
            "four\none"
        );
    });
}
