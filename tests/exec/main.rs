//! `wharf exec`: one more process in a container that runs.
#![forbid(unsafe_code)]

use black_box_tests::{BUSYBOX, Terminal, bed, eventually};

#[test]
fn output_input_and_exit_code() {
    bed!(|bed| {
        let id = bed.start(&["--name", "box"]);
        let outcome = bed.run(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!(outcome.code(3), "out");
        assert_eq!(outcome.error(), "err\n");
        assert_eq!(
            bed.command(&["exec", "-i", &id, "cat"])
                .input("through\n")
                .run()
                .ok(),
            "through"
        );
        assert_eq!(
            bed.command(&["exec", &id, "cat"]).input("lost").run().ok(),
            ""
        );
        assert_eq!(
            bed.run(&["exec", "box", "seq", "1", "300000"])
                .ok()
                .lines()
                .count(),
            300_000
        );
    });
}

#[test]
fn it_is_in_the_container() {
    bed!(|bed| {
        let id = bed.start(&["-e", "OF=container", "-w", "/usr", "--hostname", "inside"]);
        assert_eq!(
            bed.run(&[
                "exec",
                &id,
                "sh",
                "-c",
                "hostname; pwd; echo $OF; tr '\\0' ' ' < /proc/1/cmdline"
            ])
            .ok(),
            "inside\n/usr\ncontainer\nsleep 1000 "
        );
        for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            let script =
                format!("test $(readlink /proc/1/ns/{kind}) = $(readlink /proc/self/ns/{kind})");
            bed.run(&["exec", &id, "sh", "-c", &script]).ok();
        }
        // In the container's cgroups too: what it eats is counted and dies with it.
        bed.run(&[
            "exec",
            &id,
            "sh",
            "-c",
            "cmp /proc/1/cgroup /proc/self/cgroup",
        ])
        .ok();
    });
}

#[test]
fn user_directory_and_environment() {
    bed!(|bed| {
        let id = bed.start(&["-e", "A=old"]);
        assert_eq!(
            bed.run(&[
                "exec",
                "-u",
                "app",
                &id,
                "sh",
                "-c",
                "id -u; id -G; echo $HOME"
            ])
            .ok(),
            "1000\n1000 2000\n/home"
        );
        assert_eq!(bed.run(&["exec", "-w", "/etc", &id, "pwd"]).ok(), "/etc");
        assert_eq!(
            bed.run(&[
                "exec",
                "-e",
                "A=new",
                "--env",
                "B=2",
                &id,
                "sh",
                "-c",
                "echo $A $B"
            ])
            .ok(),
            "new 2"
        );
        bed.run(&["exec", "-u", "nobody-here", &id, "true"])
            .refused(&["nobody-here"]);
        bed.run(&["exec", "-w", "/no/such/dir", &id, "pwd"])
            .refused(&["/no/such/dir"]);
    });
}

#[test]
fn the_confinement_is_the_containers() {
    bed!(|bed| {
        let id = bed.start(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
        let read = |name: &str| {
            let script = format!("grep {name} /proc/self/status | cut -f2");
            bed.run(&["exec", &id, "sh", "-c", &script]).ok()
        };
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
            assert_eq!(read(set), "0000000000000000", "{set}");
        }
        assert_eq!(read("Seccomp:"), "2");
        assert_eq!(read("NoNewPrivs"), "1");
        let privileged = bed
            .run(&[
                "exec",
                "--privileged",
                &id,
                "sh",
                "-c",
                "grep CapEff /proc/self/status | cut -f2",
            ])
            .ok();
        assert_ne!(privileged, "0000000000000000");
    });
}

#[test]
fn errors() {
    bed!(|bed| {
        let id = bed.start(&["--name", "box"]);
        bed.run(&["exec", &id, "no-such-program"])
            .fails(127, &["no-such-program", "not found"]);
        bed.run(&["exec", &id, "/etc/passwd"])
            .fails(126, &["/etc/passwd", "permission denied"]);
        bed.run(&["exec", "nobody", "true"])
            .fails(1, &["no such container", "nobody"]);
        bed.run(&["stop", "-t", "0", "box"]).ok();
        bed.run(&["exec", "box", "true"]).fails(1, &["not running"]);
        bed.nothing_runs();
    });
}

#[test]
fn detached() {
    bed!(|bed| {
        let id = bed.start(&[]);
        assert_eq!(
            bed.run(&[
                "exec",
                "-d",
                &id,
                "sh",
                "-c",
                "echo here > /proof; sleep 0.3; echo gone > /proof"
            ])
            .ok(),
            ""
        );
        for word in ["here", "gone"] {
            eventually(10, word, || {
                (bed.run(&["exec", &id, "cat", "/proof"]).text().trim() == word).then_some(())
            });
        }
    });
}

#[test]
fn on_a_terminal() {
    bed!(|bed| {
        let id = bed.start(&[]);
        for verb in [&["exec", "-it", &id][..], &["run", "--rm", "-it", BUSYBOX]] {
            bed.run(&[verb, &["true"][..]].concat())
                .fails(1, &["the input device is not a TTY"]);
        }
        let mut terminal = Terminal::start(&mut bed.command(&["exec", "-it", &id, "sh"]), 111, 22);
        terminal.wait_for("# ");
        terminal.type_in("stty size; tty\n");
        terminal.wait_for("22 111");
        terminal.wait_for("/dev/pts/");
        terminal.resize(99, 33);
        eventually(10, "the new size", || {
            terminal.type_in("stty size\n");
            std::thread::sleep(std::time::Duration::from_millis(50));
            terminal.screen().contains("33 99").then_some(())
        });
        terminal.type_in("exit 6\n");
        assert_eq!(terminal.finish().0, 6);
    });
}

#[test]
fn it_dies_with_the_container() {
    bed!(|bed| {
        let id = bed.start(&["--name", "box"]);
        let mut running = bed
            .command(&["exec", &id, "sh", "-c", "echo ready; sleep 1000"])
            .start();
        running.wait_for("ready");
        assert!(running.is_running());
        bed.run(&["kill", "box"]).ok();
        assert_eq!(running.finish().status.code(), Some(137));
        bed.nothing_runs();
    });
}

#[test]
fn its_own_end_leaves_the_container_running() {
    bed!(|bed| {
        let id = bed.start(&[]);
        bed.run(&["exec", &id, "sh", "-c", "kill -9 $$"]).code(137);
        assert_eq!(bed.inspect(&id, "{{.State.Running}}"), "true");
    });
}

#[test]
fn many_at_once() {
    bed!(|bed| {
        let id = bed.start(&[]);
        let started: Vec<_> = (0..12)
            .map(|number| {
                let script = format!("echo {number}; exit {number}");
                bed.command(&["exec", &id, "sh", "-c", &script]).start()
            })
            .collect();
        for (number, running) in started.into_iter().enumerate() {
            assert_eq!(
                running.finish().code(i32::try_from(number).unwrap()),
                number.to_string()
            );
        }
    });
}

#[test]
fn nothing_of_ours_is_left_in_the_container() {
    bed!(|bed| {
        let id = bed.start(&[]);
        for _ in 0..5 {
            bed.run(&["exec", &id, "true"]).ok();
        }
        let processes = bed
            .run(&["exec", &id, "sh", "-c", "echo /proc/[0-9]*"])
            .ok();
        assert_eq!(
            processes.split_whitespace().count(),
            2,
            "the sleeper and this shell: {processes}"
        );
    });
}
