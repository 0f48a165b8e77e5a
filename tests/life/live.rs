//! `top` without a container: a live view on a terminal.

use black_box_tests::{BUSYBOX, Bed, Terminal, bed, eventually};

/// The last screen that was drawn, without styles.
fn last(screen: &str) -> String {
    let screen = screen.rsplit("\u{1b}[H").next().unwrap_or_default();
    let mut text = String::new();
    let mut letters = screen.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            let _ = letters.by_ref().find(char::is_ascii_alphabetic);
        } else if letter != '\r' {
            text.push(letter);
        }
    }
    text
}

fn shows(terminal: &Terminal, what: &str, check: impl Fn(&str) -> bool) {
    eventually(30, what, || check(&last(&terminal.screen())).then_some(()));
}

/// Names in the order of the table; the last line is a question or news, which begin with a name, too.
fn order(screen: &str) -> Vec<String> {
    let (table, _) = screen.rsplit_once('\n').unwrap_or_default();
    let rows = table
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    rows.filter(|name| ["busy", "lazy"].contains(name))
        .map(str::to_owned)
        .collect()
}

fn start(bed: &Bed) -> Terminal {
    bed.run(&[
        "run",
        "-d",
        "--name",
        "busy",
        "--network",
        "none",
        BUSYBOX,
        "sh",
        "-c",
        "trap 'exit 0' TERM; while :; do :; done",
    ])
    .ok();
    let script = "echo said this; trap 'echo ended; exit 0' TERM; sleep 1000 & sleep 1000 & while :; do sleep 0.1; done";
    bed.run(&[
        "run",
        "-d",
        "--name",
        "lazy",
        "--network",
        "none",
        BUSYBOX,
        "sh",
        "-c",
        script,
    ])
    .ok();
    Terminal::start(&mut bed.command(&["top"]), 120, 20)
}

#[test]
fn sorted_with_sparklines() {
    bed!(|bed| {
        let mut top = start(bed);
        shows(&top, "both, the busy one first", |screen| {
            order(screen) == ["busy", "lazy"] && screen.contains("2 running")
        });
        shows(&top, "a sparkline", |screen| {
            screen.contains(['▂', '▃', '▄', '▅', '▆', '▇', '█'])
        });
        // It has the most processes.
        top.type_in("p");
        shows(&top, "order by processes", |screen| {
            order(screen) == ["lazy", "busy"] && screen.contains("PIDS▾")
        });
        top.type_in("n");
        shows(&top, "order by name", |screen| {
            order(screen) == ["busy", "lazy"] && screen.contains("NAME▾")
        });
        // A smaller window cuts, a larger one shows more.
        top.resize(40, 10);
        shows(&top, "a narrow window", |screen| {
            screen.lines().all(|line| line.chars().count() <= 40)
        });
        top.signal(rustix::process::Signal::TERM);
        let (code, screen) = top.finish();
        assert_eq!(code, 0);
        assert!(
            screen.ends_with("\u{1b}[?25h\u{1b}[?1049l"),
            "the terminal is as it was"
        );
    });
}

#[test]
fn acts_on_the_chosen_one() {
    bed!(|bed| {
        let mut top = start(bed);
        shows(&top, "both", |screen| order(screen).len() == 2);
        top.type_in("n");
        shows(&top, "order by name", |screen| {
            order(screen) == ["busy", "lazy"]
        });
        top.type_in("\u{1b}[B\u{1b}[B");
        top.type_in("l");
        shows(&top, "the log", |screen| {
            screen.contains("logs of lazy") && screen.contains("said this")
        });
        top.type_in("\u{1b}");
        shows(&top, "the table", |screen| order(screen).len() == 2);
        // Asked first; anything but y is no.
        top.type_in("s");
        shows(&top, "a question", |screen| {
            screen.contains("stop lazy? (y/n)")
        });
        top.type_in("x");
        shows(&top, "no question", |screen| screen.contains("sort: c cpu"));
        let before = bed.inspect("lazy", "{{.State.Pid}}");
        top.type_in("ry");
        shows(&top, "the restart told", |screen| {
            screen.contains("lazy was restarted")
        });
        assert_ne!(bed.inspect("lazy", "{{.State.Pid}}"), before);
        top.type_in("sy");
        shows(&top, "the stop told", |screen| {
            screen.contains("lazy was stopped")
        });
        assert_eq!(bed.inspect("lazy", "{{.State.Status}}"), "exited");
        shows(&top, "one left", |screen| order(screen) == ["busy"]);
        assert!(!top.echoes());
        top.type_in("q");
        let (code, screen) = top.finish();
        assert_eq!(code, 0, "{}", last(&screen));
        bed.run(&["top"]).fails(1, &["needs a terminal", "stats"]);
    });
}
