//! Standard input without a terminal, and signals sent to the command line.

use black_box_tests::{BUSYBOX, bed};
use rustix::process::Signal;

#[test]
fn input_reaches_the_command_with_i_only() {
    bed!(|bed| {
        let with = bed
            .command(&["run", "--rm", "-i", BUSYBOX, "cat"])
            .input("to the container\n")
            .run();
        assert_eq!(with.ok(), "to the container");
        let without = bed
            .command(&["run", "--rm", BUSYBOX, "cat"])
            .input("lost")
            .run();
        assert_eq!(without.ok(), "");
    });
}

#[test]
fn much_input_and_output_at_once() {
    bed!(|bed| {
        let input = (0..400_000)
            .map(|number: u32| number.to_string())
            .collect::<Vec<_>>()
            .join("\n")
            + "\n";
        let outcome = bed
            .command(&["run", "--rm", "-i", BUSYBOX, "cat"])
            .input(&input)
            .run();
        assert!(
            outcome.ok() + "\n" == input,
            "{} bytes came back of {}",
            outcome.stdout.len(),
            input.len()
        );
    });
}

#[test]
fn the_end_of_the_input_is_passed_on() {
    bed!(|bed| {
        let outcome = bed
            .command(&["run", "--rm", "-i", BUSYBOX, "wc", "-c"])
            .input("12345")
            .run();
        assert_eq!(outcome.ok(), "5");
    });
}

#[test]
fn a_command_that_does_not_read_does_not_hang_us() {
    bed!(|bed| {
        let input = vec![b'x'; 8 << 20];
        bed.command(&["run", "--rm", "-i", BUSYBOX, "true"])
            .input(input)
            .run()
            .ok();
    });
}

#[test]
fn signals_are_forwarded_without_a_terminal() {
    bed!(|bed| {
        for (signal, name) in [
            (Signal::TERM, "TERM"),
            (Signal::INT, "INT"),
            (Signal::HUP, "HUP"),
            (Signal::USR1, "USR1"),
        ] {
            let script = format!(
                "trap 'echo got {name}; exit 6' {name}; echo ready; while :; do sleep 0.05; done"
            );
            let running = bed
                .command(&["run", "--rm", BUSYBOX, "sh", "-c", &script])
                .start();
            running.wait_for("ready");
            running.signal(signal);
            let outcome = running.finish();
            assert_eq!(outcome.code(6), format!("ready\ngot {name}"));
        }
    });
}

#[test]
fn sig_proxy_can_be_turned_off() {
    bed!(|bed| {
        let running = bed
            .command(&[
                "run",
                "--name",
                "kept",
                "--sig-proxy=false",
                BUSYBOX,
                "sh",
                "-c",
                "echo ready; sleep 1000",
            ])
            .start();
        running.wait_for("ready");
        running.signal(Signal::TERM);
        running.finish();
        assert_eq!(bed.inspect("kept", "{{.State.Running}}"), "true");
    });
}

#[test]
fn a_closed_reader_ends_us_without_noise() {
    bed!(|bed| {
        let wharf = black_box_tests::binary("wharf");
        let line = format!(
            "{} --root {} --runroot {} run --rm {BUSYBOX} yes | head -n 1; echo \"${{PIPESTATUS[0]}}\"",
            wharf.display(),
            bed.root().display(),
            bed.runroot().display()
        );
        let outcome = bed.host("bash", &["-c", &line]);
        assert!(outcome.ok().starts_with("y\n"), "{}", outcome.story());
        assert!(!outcome.error().contains("panic"), "{}", outcome.story());
        // As in Docker the container may go on: it is not its reader that ended it.
    });
}
