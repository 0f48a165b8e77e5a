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
fn a_watcher_that_does_not_read_stops_nobody() {
    bed!(|bed| {
        let wharf = black_box_tests::binary("wharf");
        bed.run(&[
            "run",
            "-d",
            "--name",
            "talker",
            BUSYBOX,
            "sh",
            "-c",
            "sleep 1; seq 1 500000; echo over > /over; sleep 1000",
        ])
        .ok();
        // Its output goes into a pipe that nobody reads.
        let line = format!(
            "{} --root {} --runroot {} attach --no-stdin talker | sleep 1000",
            wharf.display(),
            bed.root().display(),
            bed.runroot().display()
        );
        let mut stuck = std::process::Command::new("sh")
            .args(["-c", &line])
            .spawn()
            .unwrap();
        eventually(30, "the container to write all it has", || {
            bed.run(&["exec", "talker", "cat", "/over"])
                .status
                .success()
                .then_some(())
        });
        bed.run(&["rm", "-f", "talker"]).ok();
        bed.host("busybox", &["pkill", "-x", "sleep"]);
        stuck.wait().unwrap();
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
