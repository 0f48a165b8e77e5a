//! Who the process is: environment, directory, user, command, host name.

use black_box_tests::{BUSYBOX, ImageBuilder, bed};
use serde_json::json;

#[test]
fn environment() {
    bed!(|bed| {
        let outcome = bed
            .command(&[
                "run",
                "--rm",
                "--network",
                "none",
                "-e",
                "A=1",
                "-e",
                "EMPTY=",
                "-e",
                "FROM_HOST",
                "-e",
                "UNSET_ON_HOST",
                BUSYBOX,
                "env",
            ])
            .variable("FROM_HOST", "host value")
            .run();
        let lines = outcome.ok();
        for line in [
            "A=1",
            "EMPTY=",
            "FROM_HOST=host value",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
        ] {
            assert!(
                lines.lines().any(|found| found == line),
                "{line} is missing in\n{lines}"
            );
        }
        assert!(!lines.contains("UNSET_ON_HOST"), "{lines}");
        assert!(
            lines.lines().any(|line| line.starts_with("HOSTNAME=")),
            "{lines}"
        );
        assert!(!lines.contains("TERM="), "no terminal, no TERM: {lines}");
    });
}

#[test]
fn environment_from_a_file() {
    bed!(|bed| {
        let file = bed.file(
            "env",
            "# a comment\n\nONE=1\nTWO=with = sign and spaces \nFROM_HOST\n",
        );
        let outcome = bed
            .command(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--env-file",
                &file,
                "-e",
                "ONE=later",
                BUSYBOX,
                "env",
            ])
            .variable("FROM_HOST", "yes")
            .run();
        let lines = outcome.ok();
        for line in ["ONE=later", "TWO=with = sign and spaces ", "FROM_HOST=yes"] {
            assert!(
                lines.lines().any(|found| found == line),
                "{line} is missing in\n{lines}"
            );
        }
        bed.run(&["run", "--rm", "--env-file", "/no/such/file", BUSYBOX, "env"])
            .fails(125, &["/no/such/file"]);
    });
}

#[test]
fn working_directory() {
    bed!(|bed| {
        assert_eq!(bed.shell(&[], "pwd").ok(), "/");
        assert_eq!(bed.shell(&["-w", "/usr/bin"], "pwd").ok(), "/usr/bin");
        assert_eq!(
            bed.shell(&["--workdir=/made/on/the/way"], "pwd").ok(),
            "/made/on/the/way"
        );
        bed.run(&["run", "--rm", "-w", "relative", BUSYBOX, "pwd"])
            .fails(125, &["relative", "absolute"]);
        bed.run(&["run", "--rm", "-w", "/etc/passwd", BUSYBOX, "pwd"])
            .refused(&["/etc/passwd"]);
    });
}

#[test]
fn user() {
    bed!(|bed| {
        assert_eq!(
            bed.shell(&["-u", "app"], "id -u; id -g; id -G; echo $HOME")
                .ok(),
            "1000\n1000\n1000 2000\n/home"
        );
        assert_eq!(
            bed.shell(&["-u", "33:2000"], "id -u; id -g").ok(),
            "33\n2000"
        );
        assert_eq!(
            bed.shell(&["-u", "app:www"], "id -u; id -g").ok(),
            "1000\n33"
        );
        assert_eq!(
            bed.shell(&["-u", "4242"], "id -u; id -g; echo $HOME").ok(),
            "4242\n0\n/"
        );
        bed.run(&["run", "--rm", "-u", "nobody-here", BUSYBOX, "id"])
            .refused(&["nobody-here"]);
        bed.run(&["run", "--rm", "-u", "app:nogroup-here", BUSYBOX, "id"])
            .refused(&["nogroup-here"]);
    });
}

#[test]
fn entrypoint_and_command() {
    bed!(|bed| {
        let image = ImageBuilder::busybox()
            .set("Entrypoint", json!(["echo", "entry"]))
            .set("Cmd", json!(["from", "image"]))
            .set("WorkingDir", json!("/usr"))
            .set("User", json!("app"));
        let file = bed.file("entry.tar", image.docker_archive("entry:1"));
        bed.run(&["load", "-i", &file]).ok();
        assert_eq!(
            bed.run(&["run", "--rm", "entry:1"]).ok(),
            "entry from image"
        );
        assert_eq!(
            bed.run(&["run", "--rm", "entry:1", "mine"]).ok(),
            "entry mine"
        );
        // A new entrypoint forgets the image's command.
        assert_eq!(
            bed.run(&["run", "--rm", "--entrypoint", "pwd", "entry:1"])
                .ok(),
            "/usr"
        );
        assert_eq!(
            bed.run(&["run", "--rm", "--entrypoint", "id", "entry:1", "-u"])
                .ok(),
            "1000"
        );
    });
}

#[test]
fn an_image_without_a_command_says_so() {
    bed!(|bed| {
        let image = ImageBuilder::busybox().set("Cmd", json!(null));
        let file = bed.file("none.tar", image.docker_archive("none:1"));
        bed.run(&["load", "-i", &file]).ok();
        bed.run(&["run", "--rm", "none:1"])
            .fails(125, &["no command"]);
    });
}

#[test]
fn host_name() {
    bed!(|bed| {
        assert_eq!(
            bed.shell(
                &["--hostname", "box.example"],
                "hostname; cat /etc/hostname"
            )
            .ok(),
            "box.example\nbox.example"
        );
        let id = bed.start(&[]);
        assert_eq!(bed.run(&["exec", &id, "hostname"]).ok(), id[..12]);
        assert!(
            bed.run(&["exec", &id, "cat", "/etc/hosts"])
                .ok()
                .contains(&id[..12])
        );
        assert!(bed.host("hostname", &[]).ok() != id[..12]);
    });
}

#[test]
fn the_process_is_alone_and_first() {
    bed!(|bed| {
        assert_eq!(
            bed.shell(&[], "echo $$; ls -d /proc/[0-9]*").ok(),
            "1\n/proc/1"
        );
        assert_eq!(
            bed.shell(&[], "cat /proc/1/cgroup | grep -v ':/$' | wc -l")
                .ok(),
            "0",
            "a cgroup namespace"
        );
    });
}

#[test]
fn init_reaps_and_forwards() {
    bed!(|bed| {
        // With --init the command is not pid 1, orphans are reaped, and a signal without a handler kills.
        let script = "test $$ != 1 && (sleep 0.1 & ) ; sleep 0.4; ps -o stat | grep -c Z; true";
        assert_eq!(bed.shell(&["--init"], script).ok(), "0");
        assert_eq!(bed.shell(&["--init"], "exit 5").code(5), "");
        let id = bed.start(&["--init"]);
        bed.run(&["stop", "-t", "20", &id]).ok();
        assert_eq!(
            bed.inspect(&id, "{{.State.ExitCode}}"),
            "143",
            "TERM reached the command"
        );
    });
}

#[test]
fn create_then_start() {
    bed!(|bed| {
        let id = bed
            .run(&[
                "create",
                "--name",
                "later",
                "-e",
                "A=b",
                BUSYBOX,
                "sh",
                "-c",
                "echo $A; exit 3",
            ])
            .ok();
        assert_eq!(id.len(), 64);
        assert_eq!(bed.inspect("later", "{{.State.Status}}"), "created");
        assert_eq!(bed.run(&["start", "later"]).ok(), "later");
        assert_eq!(bed.run(&["wait", "later"]).ok(), "3");
        let again = bed.run(&["start", "-a", "later"]);
        assert_eq!(again.code(3), "b");
        assert_eq!(bed.run(&["logs", "later"]).ok(), "b\nb");
    });
}
