//! A shell on a terminal (`-it`) remembers: what it knows, its jobs, and what its terminal is like.

use black_box_tests::{BUSYBOX, Bed, Terminal, bed};

use crate::status;

/// A shell that knows something, has a stopped job and the terminal as it likes it; nobody is attached.
fn shell(bed: &Bed) {
    let run = [
        "run",
        "-it",
        "--name",
        "shell",
        "--network",
        "none",
        BUSYBOX,
        "sh",
    ];
    let mut terminal = Terminal::start(&mut bed.command(&run), 91, 27);
    terminal.wait_for("# ");
    terminal.type_in("X=remem; Y=bered; stty erase %; sleep 1000\n");
    terminal.wait_for("sleep 1000");
    // The job has the terminal by then, or takes this when it has.
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.type_in("\x1a");
    terminal.wait_for("Stopped");
    terminal.type_in("echo $X$Y\n");
    terminal.wait_for("remembered");
    terminal.type_in("\x10\x11");
    assert_eq!(terminal.finish().0, 0);
}

/// It is as it was, and ends as any.
fn goes_on(bed: &Bed, name: &str) {
    let mut terminal = Terminal::start(&mut bed.command(&["attach", name]), 100, 30);
    terminal.type_in("echo _$X$Y; tty; jobs; stty -a\n");
    terminal.wait_for("_remembered");
    terminal.wait_for("/dev/pts/0");
    terminal.wait_for("Stopped");
    terminal.wait_for("erase = %");
    // Keys are signals for who is in the foreground, and jobs are under control.
    terminal.type_in("fg\n");
    terminal.wait_for("\nsleep 1000");
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.type_in("\x03");
    terminal.type_in("echo ended $?; stty size\n");
    terminal.wait_for("ended 130");
    terminal.wait_for("30 100");
    terminal.type_in("exit 8\n");
    assert_eq!(terminal.finish().0, 8);
}

#[test]
fn a_shell_is_suspended_and_resumed() {
    bed!(|bed| {
        shell(bed);
        for _ in 0..2 {
            bed.run(&["suspend", "shell"]).ok();
            assert!(status(bed, "shell").starts_with("Suspended ("));
            bed.run(&["resume", "shell"]).ok();
        }
        goes_on(bed, "shell");
    });
}

#[test]
fn a_shell_is_restored() {
    bed!(|bed| {
        shell(bed);
        bed.run(&["checkpoint", "--leave-running", "shell", "kept"])
            .ok();
        bed.run(&["restore", "kept", "--name", "one"]).ok();
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        for name in ["two", "shell", "one"] {
            goes_on(bed, name);
        }
    });
}

#[test]
fn who_is_attached_sees_its_shell_leave() {
    bed!(|bed| {
        let run = [
            "run",
            "-it",
            "--name",
            "shell",
            "--network",
            "none",
            BUSYBOX,
            "sh",
        ];
        let mut terminal = Terminal::start(&mut bed.command(&run), 80, 24);
        terminal.wait_for("# ");
        terminal.type_in("X=remembered\n");
        terminal.wait_for("remembered");
        bed.run(&["suspend", "shell"]).ok();
        assert!(terminal.finish().1.contains("the container was suspended"));
        let mut terminal = Terminal::start(&mut bed.command(&["start", "-ai", "shell"]), 80, 24);
        terminal.type_in("echo $X again; exit 3\n");
        terminal.wait_for("remembered again");
        assert_eq!(terminal.finish().0, 3);
    });
}
