//! What users run, of this machine's Debian packages, cloned while it works.

use black_box_tests::{Bed, ImageBuilder, Tar, bed, eventually};

use crate::{inside, judged, templates};

/// An image with the machine's programs, which are mounted there, and `tests/checkpoint/servers.py`.
fn image(bed: &Bed) {
    let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70:PostgreSQL:/data:/bin/sh\n";
    let script = include_bytes!("../checkpoint/servers.py");
    let tar = Tar::new()
        .symlink("lib", "usr/lib")
        .symlink("lib64", "usr/lib64")
        .directory("usr", 0o755)
        .file("etc/passwd", 0o644, users)
        .file("servers.py", 0o644, script);
    let archive = bed.file(
        "servers.tar",
        ImageBuilder::busybox().tar(tar).docker_archive("servers"),
    );
    bed.run(&["load", "-q", "-i", &archive]).ok();
}

/// Starts one in the background, with a volume for its data.
fn start(bed: &Bed, name: &str, command: &[&str]) {
    let mut arguments = vec![
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "none",
        "-v",
        "/usr:/usr:ro",
        "-v",
        "/data",
        "-v",
        "files:/files",
        "--tmpfs",
        "/tmp:mode=1777",
        "-e",
        "LC_ALL=C",
        "-e",
        "PATH=/usr/bin:/usr/sbin:/bin",
        "servers",
    ];
    arguments.extend(command);
    bed.run(&arguments).ok();
}

/// Runs one of `tests/checkpoint/servers.py`, or what became of it, with the machine's `/usr` and `/etc`.
fn busy(bed: &Bed, name: &str, image_and_command: &[&str]) {
    let options = [
        "run",
        "-d",
        "--network=none",
        "--name",
        name,
        "--volume=/usr:/usr:ro",
        "--volume=/etc:/etc:ro",
        "--volume=/data",
        "--tmpfs=/tmp:mode=1777",
        "--tmpfs=/run:mode=1777",
        "--tmpfs=/var:mode=1777",
        "--env=LC_ALL=C",
        "--env=PATH=/usr/bin:/usr/sbin:/bin",
    ];
    let started = bed.run(&[&options[..], image_and_command].concat());
    started.ok();
    assert_eq!(String::from_utf8_lossy(&started.stderr), "", "{name}");
}

/// Copies a server that is kept busy, with the connections of its client, which is in the same container, and makes a
/// warm image of it: it and all of them find everything as it has to be.
fn survives(bed: &Bed, server: &str) {
    image(bed);
    busy(
        bed,
        "one",
        &["servers", "/usr/bin/python3", "/servers.py", server],
    );
    eventually(120, "the server to be busy", || {
        let verdict = bed.run(&["exec", "one", "cat", "/data/verdict"]);
        assert!(
            !verdict.status.success(),
            "{}",
            String::from_utf8_lossy(&verdict.stdout)
        );
        let ready = bed.run(&["exec", "one", "test", "-e", "/data/ready"]);
        ready.status.success().then_some(())
    });
    bed.run(&["clone", "--name", "two", "one"]).ok();
    bed.run(&["clone", "--name", "three", "two"]).ok();
    bed.run(&["commit", "--memory", "two", "warm"]).ok();
    busy(bed, "four", &["warm"]);
    judged(bed, &["two", "four", "one", "three"]);
    bed.run(&["rm", "-v", "one", "two", "three", "four"]).ok();
    assert_eq!(templates(bed), 0);
}

macro_rules! servers {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            bed!(|bed| survives(bed, stringify!($name)));
        }
    )*};
}

servers! { redis nginx python node mariadb jvm go }

#[test]
fn postgres_with_its_clients_inside() {
    bed!(|bed| {
        image(bed);
        start(bed, "one", &["/usr/bin/python3", "/servers.py", "postgres"]);
        let has = |name: &str, file: &str| {
            bed.run(&["exec", name, "test", "-e", file])
                .status
                .success()
        };
        eventually(60, "the server to be busy", || {
            assert!(
                !has("one", "/data/verdict"),
                "{}",
                inside(bed, "one", "cat /data/verdict")
            );
            has("one", "/data/ready").then_some(())
        });
        // Every query of the clients goes on where it was, in each of them.
        bed.run(&["clone", "--name-prefix", "c", "one", "3"]).ok();
        bed.run(&["clone", "--name", "late", "c-2"]).ok();
        let names = ["c-1", "one", "c-3", "late", "c-2"];
        for name in names {
            // Its init ends with the verdict, so that is kept where it can be read.
            inside(bed, name, "echo $(hostname) > /files/who; touch /data/go");
        }
        for name in names {
            bed.run(&["wait", name]).ok();
            let out = bed.dir().join(name);
            bed.run(&[
                "cp",
                &format!("{name}:/data/verdict"),
                out.to_str().unwrap(),
            ])
            .ok();
            assert_eq!(std::fs::read_to_string(out).unwrap(), "ok", "{name}");
        }
        bed.run(&["rm", "-v", "one", "c-1", "c-2", "c-3", "late"])
            .ok();
        bed.run(&["volume", "rm", "files"]).ok();
        assert_eq!(templates(bed), 0);
    });
}

#[test]
fn redis_each_with_its_own_keys() {
    bed!(|bed| {
        image(bed);
        start(
            bed,
            "one",
            &[
                "redis-server",
                "--port",
                "0",
                "--unixsocket",
                "/tmp/redis",
                "--dir",
                "/data",
                "--appendonly",
                "yes",
                "--enable-debug-command",
                "yes",
            ],
        );
        let redis = |name: &str, words: &str| {
            inside(bed, name, &format!("redis-cli -s /tmp/redis {words}"))
        };
        eventually(30, "the server", || {
            let said = bed.run(&["exec", "one", "redis-cli", "-s", "/tmp/redis", "ping"]);
            (said.stdout == b"PONG\n").then_some(())
        });
        redis("one", "debug populate 20000 key 100");
        redis("one", "set whose one");
        bed.run(&[
            "clone",
            "--keep-template=warm",
            "--name-prefix",
            "c",
            "one",
            "4",
        ])
        .ok();
        // Several command lines at once, of one template.
        let later: Vec<_> = ["d-1", "d-2", "d-3", "d-4"]
            .map(|name| {
                (
                    name,
                    bed.command(&["clone", "--name", name, "warm"]).start(),
                )
            })
            .into();
        let names: Vec<&str> = later
            .into_iter()
            .map(|(name, started)| {
                started.finish().ok();
                name
            })
            .chain(["c-1", "c-2", "c-3", "c-4"])
            .collect();
        for name in &names {
            assert_eq!(redis(name, "get whose"), "one");
            redis(name, &format!("set whose {name}"));
            redis(name, "del key:7");
        }
        redis("one", "set key:8 changed");
        for name in &names {
            assert_eq!(redis(name, "get whose"), *name);
            assert_eq!(redis(name, "dbsize"), "20000");
            assert_ne!(redis(name, "get key:8"), "changed");
        }
        assert_eq!(redis("one", "get whose"), "one");
        assert_eq!(redis("one", "dbsize"), "20001");
        // What it wrote to its files is what it has, also after its program starts anew.
        bed.run(&["restart", "-t", "5", "c-3"]).ok();
        eventually(30, "the server again", || {
            let said = bed.run(&[
                "exec",
                "c-3",
                "redis-cli",
                "-s",
                "/tmp/redis",
                "get",
                "whose",
            ]);
            (said.stdout == b"c-3\n").then_some(())
        });
        bed.run(&["template", "rm", "warm"]).ok();
        let mut arguments = vec!["rm", "-f", "-v", "one"];
        arguments.extend(&names);
        bed.run(&arguments).ok();
        bed.run(&["volume", "rm", "files"]).ok();
        assert_eq!(templates(bed), 0);
    });
}
