//! `-t`: a real terminal inside, raw mode outside, window size, detach keys.

use black_box_tests::{BUSYBOX, Terminal, bed, eventually};

#[test]
fn a_shell_on_a_terminal() {
    bed!(|bed| {
        let mut terminal = Terminal::start(
            &mut bed.command(&["run", "--rm", "-it", "--network", "none", BUSYBOX, "sh"]),
            100,
            30,
        );
        terminal.wait_for("# ");
        assert!(
            !terminal.echoes(),
            "the outer terminal is raw while the inner one echoes"
        );
        terminal.type_in("tty; stty size; echo TERM=$TERM; ls -l /dev/console | cut -c1\n");
        terminal.wait_for("/dev/pts/0");
        terminal.wait_for("30 100");
        terminal.wait_for("TERM=xterm");
        terminal.type_in("exit 4\n");
        let (code, _) = terminal.finish();
        assert_eq!(code, 4);
    });
}

#[test]
fn the_terminal_is_as_it_was_afterwards() {
    bed!(|bed| {
        let mut terminal = Terminal::start(
            &mut bed.command(&["run", "--rm", "-it", "--network", "none", BUSYBOX, "sh"]),
            80,
            24,
        );
        terminal.wait_for("# ");
        terminal.type_in("exit\n");
        eventually(20, "the terminal to echo again", || {
            terminal.echoes().then_some(())
        });
        assert_eq!(terminal.finish().0, 0);
    });
}

#[test]
fn resizing_the_window() {
    bed!(|bed| {
        let script = "trap 'echo now $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done";
        let mut terminal = Terminal::start(
            &mut bed.command(&[
                "run",
                "--rm",
                "-it",
                "--network",
                "none",
                BUSYBOX,
                "sh",
                "-c",
                script,
            ]),
            80,
            24,
        );
        terminal.wait_for("ready");
        terminal.resize(132, 43);
        terminal.wait_for("now 43 132");
        terminal.type_in("\x03"); // ctrl-c goes to the container as a key, not to us as a signal
        assert_eq!(terminal.finish().0, 130);
    });
}

#[test]
fn keys_reach_the_container_as_keys() {
    bed!(|bed| {
        let script =
            "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.05; done";
        let mut terminal = Terminal::start(
            &mut bed.command(&[
                "run",
                "--rm",
                "-it",
                "--network",
                "none",
                BUSYBOX,
                "sh",
                "-c",
                script,
            ]),
            80,
            24,
        );
        terminal.wait_for("ready");
        terminal.type_in("\x03");
        let (code, screen) = terminal.finish();
        assert_eq!(code, 3);
        assert!(screen.contains("interrupted"), "{screen:?}");
    });
}

#[test]
fn detach_and_attach_again() {
    bed!(|bed| {
        let mut first = Terminal::start(
            &mut bed.command(&[
                "run",
                "-it",
                "--name",
                "shell",
                "--network",
                "none",
                BUSYBOX,
                "sh",
            ]),
            80,
            24,
        );
        first.wait_for("# ");
        first.type_in("X=remembered\n");
        first.wait_for("remembered");
        first.type_in("\x10\x11"); // ctrl-p ctrl-q
        assert_eq!(first.finish().0, 0);
        assert_eq!(bed.inspect("shell", "{{.State.Running}}"), "true");

        let mut second = Terminal::start(&mut bed.command(&["attach", "shell"]), 90, 25);
        second.type_in("echo $X; stty size\n");
        second.wait_for("25 90");
        assert!(second.screen().contains("remembered"));
        second.type_in("exit 8\n");
        assert_eq!(second.finish().0, 8);
    });
}

#[test]
fn detach_keys_can_be_chosen() {
    bed!(|bed| {
        let arguments = [
            "run",
            "-it",
            "--detach-keys",
            "ctrl-x,z",
            "--name",
            "shell",
            "--network",
            "none",
            BUSYBOX,
            "sh",
        ];
        let mut terminal = Terminal::start(&mut bed.command(&arguments), 80, 24);
        terminal.wait_for("# ");
        // Half a sequence is passed on, the other keys are ordinary.
        terminal.type_in("echo a\x10b; echo d\"\"one\n");
        terminal.wait_for("done");
        terminal.type_in("\x18z");
        assert_eq!(terminal.finish().0, 0);
        assert_eq!(bed.inspect("shell", "{{.State.Running}}"), "true");
        bed.run(&[
            "run",
            "--rm",
            "-it",
            "--detach-keys",
            "ctrl-nonsense",
            BUSYBOX,
            "true",
        ])
        .fails(125, &["ctrl-nonsense"]);
    });
}

#[test]
fn t_without_a_terminal_of_ours() {
    bed!(|bed| {
        // As Docker: with -i a terminal is demanded; without -i a pty is given all the same.
        let refused = bed.run(&["run", "--rm", "-it", BUSYBOX, "true"]);
        assert!(
            !refused.status.success() && refused.error().contains("TTY"),
            "{}",
            refused.story()
        );
        let outcome = bed.run(&[
            "run",
            "--rm",
            "-t",
            "--network",
            "none",
            BUSYBOX,
            "sh",
            "-c",
            "test -t 1 && echo a terminal",
        ]);
        assert_eq!(outcome.ok().trim_end_matches('\r'), "a terminal");
    });
}
