use super::*;
use state::{MountKind, Protocol};

fn given(words: &[&str]) -> Result<ArgMatches, clap::Error> {
    let words = std::iter::once("run").chain(words.iter().copied());
    run(Command::new("run")).try_get_matches_from(words)
}

fn read(words: &[&str]) -> RunRequest {
    request(&given(words).unwrap()).unwrap()
}

#[test]
fn what_follows_the_image_is_the_command() {
    for (words, command) in [
        (&["img"][..], &[][..]),
        (&["img", "ls", "-l"], &["ls", "-l"]),
        (&["img", "-d", "--rm"], &["-d", "--rm"]),
        (&["-i", "img", "sh", "-c", "x"], &["sh", "-c", "x"]),
        (&["img", "--", "x"], &["--", "x"]),
        (&["--", "img", "x"], &["x"]),
        (&["--name", "a", "img", "--name", "b"], &["--name", "b"]),
        (&["img", "--help"], &["--help"]),
        (&["img", ""], &[""]),
    ] {
        let request = read(words);
        assert_eq!(request.image, "img", "{words:?}");
        assert_eq!(request.process.command, command, "{words:?}");
        assert!(!request.auto_remove, "{words:?}");
    }
}

#[test]
fn flags_are_written_as_for_docker() {
    for (words, tty, stdin, rm) in [
        (&["-it", "--rm", "i"][..], true, StdinMode::Once, true),
        (&["-ti", "i"], true, StdinMode::Once, false),
        (&["-dit", "i"], true, StdinMode::Open, false),
        (
            &["--rm=true", "-t=false", "i"],
            false,
            StdinMode::Closed,
            true,
        ),
        (
            &["--rm=false", "--tty", "i"],
            true,
            StdinMode::Closed,
            false,
        ),
        (
            &["--rm", "--rm=0", "--interactive=1", "i"],
            false,
            StdinMode::Once,
            false,
        ),
        (
            &["--tty", "--rm", "i", "--tty=false"],
            true,
            StdinMode::Closed,
            true,
        ),
    ] {
        let request = read(words);
        assert_eq!(request.process.tty, tty, "{words:?}");
        assert_eq!(request.process.stdin, stdin, "{words:?}");
        assert_eq!(request.auto_remove, rm, "{words:?}");
    }
}

#[test]
fn values_are_written_as_for_docker() {
    let request = read(&[
        "--name=web",
        "--name",
        "db",
        "-eA=1",
        "-e",
        "B=x=y",
        "--env=C=",
        "-p8080:80",
        "-p",
        "127.0.0.1:53:53/udp",
        "-m",
        "512m",
        "--memory-swap",
        "-1",
        "--cpus=1.5",
        "--pids-limit",
        "-1",
        "-v",
        "/srv:/data:ro",
        "--mount",
        "type=tmpfs,target=/t",
        "--tmpfs",
        "/run:size=1m",
        "-h",
        "host",
        "--net",
        "none",
        "-lkey=value",
        "--entrypoint",
        "",
        "-u1000:1000",
        "-w/work",
        "--ulimit",
        "nofile=10:20",
        "--stop-signal",
        "INT",
        "--security-opt",
        "no-new-privileges",
        "--cap-drop",
        "ALL",
        "img",
    ]);
    assert_eq!(
        request.name.map(|name| name.to_string()).as_deref(),
        Some("db")
    );
    assert_eq!(request.process.env, ["A=1", "B=x=y", "C="]);
    assert_eq!(request.process.entrypoint, Some(Vec::new()));
    assert_eq!(request.process.user.as_deref(), Some("1000:1000"));
    assert_eq!(request.process.workdir.as_deref(), Some("/work"));
    assert_eq!(request.ports.len(), 2);
    assert_eq!(request.ports[1].protocol, Protocol::Udp);
    assert_eq!(request.resources.memory, Some(512 << 20));
    assert_eq!(request.resources.memory_swap, Some(-1));
    assert_eq!(request.resources.nano_cpus, Some(1_500_000_000));
    assert_eq!(request.resources.pids, Some(-1));
    assert_eq!(request.resources.ulimits[0].hard, 20);
    assert_eq!(request.mounts.len(), 3);
    assert!(request.mounts[0].read_only);
    assert!(matches!(
        request.mounts[2].kind,
        MountKind::Tmpfs {
            size: Some(1_048_576),
            ..
        }
    ));
    assert_eq!(request.hostname.as_deref(), Some("host"));
    assert_eq!(request.network, engine::NetworkRequest::None);
    assert_eq!(request.labels["key"], "value");
    assert_eq!(request.stop.signal, Some(2));
    assert!(request.confinement.no_new_privileges);
    assert_eq!(request.confinement.cap_drop, ["ALL"]);
}

#[test]
fn variables_come_from_here_and_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("env");
    std::fs::write(&file, "# comment\nA=from file\n\nPATH\nNOT_SET_ANYWHERE\n").unwrap();
    let file = format!("--env-file={}", file.display());
    let request = read(&[
        &file,
        "-e",
        "PATH",
        "-e",
        "NOT_SET_ANYWHERE",
        "-e",
        "A=2",
        "i",
    ]);
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    assert_eq!(request.process.env, ["A=from file", &path, &path, "A=2"]);
}

#[test]
fn faults_are_refused() {
    for words in [
        &[][..],
        &["--rm=maybe", "i"],
        &["--nmae", "x", "i"],
        &["--name"],
        &["-z", "i"],
    ] {
        assert!(given(words).is_err(), "{words:?}");
    }
    for words in [
        &["-m", "lots", "i"][..],
        &["--name", "a/b", "i"],
        &["-p", "99999:1", "i"],
        &["--network", "name=x,what=y", "i"],
        &["--network", "host", "--network", "x", "i"],
        &["--network", "none", "--ip", "10.0.0.2", "i"],
        &["--ip", "fd00::2", "i"],
        &["--network-alias", "a b", "i"],
        &["--dns", "x", "i"],
        &["--network-rate", "10", "i"],
        &["--pull", "maybe", "i"],
        &["--restart", "always", "--rm", "i"],
        &["--log-driver", "syslog", "i"],
        &["--log-opt", "max-file=0", "i"],
        &["--pids-limit", "many", "i"],
        &["--ipc", "sometimes", "i"],
        &["--env-file", "/nonexistent/file", "i"],
        &["--security-opt", "seccomp=/nonexistent/file", "i"],
        &[""],
    ] {
        assert!(request(&given(words).unwrap()).is_err(), "{words:?}");
    }
}
