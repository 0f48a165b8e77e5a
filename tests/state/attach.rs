//! `attach` and `wait`.

use black_box_tests::{BUSYBOX, bed, eventually};
use rustix::process::Signal;

#[test]
fn attach_gives_input_output_and_the_exit_code() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "-i",
            "--name",
            "echoes",
            BUSYBOX,
            "sh",
            "-c",
            "read line; echo heard $line; exit 7",
        ])
        .ok();
        let outcome = bed.command(&["attach", "echoes"]).input("this\n").run();
        assert_eq!(outcome.code(7), "heard this");
    });
}

#[test]
fn several_watch_the_same() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "talker",
            BUSYBOX,
            "sh",
            "-c",
            "sleep 1; seq 1 1000; exit 2",
        ])
        .ok();
        let watchers: Vec<_> = (0..3)
            .map(|_| bed.command(&["attach", "--no-stdin", "talker"]).start())
            .collect();
        for watcher in watchers {
            let said = watcher.finish().code(2);
            assert_eq!(said.lines().count(), 1000);
        }
    });
}

#[test]
fn a_watcher_that_goes_away_holds_nobody_up() {
    bed!(|bed| {
        let script = "sleep 1; seq 1 500000; echo over > /over; sleep 1000";
        bed.run(&["run", "-d", "--name", "talker", BUSYBOX, "sh", "-c", script])
            .ok();
        // Nobody reads its output: as in Docker, the container waits for it, and loses nothing.
        let wharf = black_box_tests::binary("wharf");
        let mut stuck = std::process::Command::new(wharf)
            .args([
                "--root",
                bed.root().to_str().unwrap(),
                "--runroot",
                bed.runroot().to_str().unwrap(),
            ])
            .args(["attach", "--no-stdin", "talker"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2));
        stuck.kill().unwrap();
        stuck.wait().unwrap();
        eventually(30, "the container to write all it has", || {
            bed.run(&["exec", "talker", "cat", "/over"])
                .status
                .success()
                .then_some(())
        });
    });
}

#[test]
fn a_signal_to_attach_goes_to_the_container() {
    bed!(|bed| {
        let script =
            "trap 'echo hup' HUP; trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        bed.run(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script])
            .ok();
        let attached = bed.command(&["attach", "c"]).start();
        std::thread::sleep(std::time::Duration::from_millis(300));
        attached.signal(Signal::HUP);
        attached.wait_for("hup");
        attached.signal(Signal::TERM);
        attached.finish().code(3);
    });
}

#[test]
fn attach_to_what_does_not_run() {
    bed!(|bed| {
        bed.run(&["create", "--name", "idle", BUSYBOX]).ok();
        bed.run(&["attach", "idle"]).fails(1, &["not running"]);
        bed.run(&["attach", "nobody"])
            .fails(1, &["no such container"]);
    });
}

#[test]
fn wait_for_several() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "-d",
            "--name",
            "one",
            BUSYBOX,
            "sh",
            "-c",
            "sleep 0.4; exit 1",
        ])
        .ok();
        bed.run(&["run", "-d", "--name", "two", BUSYBOX, "sh", "-c", "exit 2"])
            .ok();
        assert_eq!(bed.run(&["wait", "one", "two"]).ok(), "1\n2");
        assert_eq!(
            bed.run(&["wait", "one"]).ok(),
            "1",
            "of one that is over already"
        );
        bed.run(&["wait", "nobody"]).fails(1, &["nobody"]);
    });
}
