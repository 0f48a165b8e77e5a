use super::*;

fn read(line: &str) -> Result<(Global, Verb)> {
    let words = line.split_whitespace().map(str::to_owned).collect();
    let (global, verb) = parse(words, "/run/wharf-runtime".into());
    verb.map(|verb| (global, verb))
}

#[test]
fn reads_what_other_engines_write() {
    let (global, verb) = read(
        "--root /r --log /l --log-format=json --rootless=true create --bundle /b --pid-file=/p \
         --console-socket /c --no-pivot web",
    )
    .unwrap();
    assert_eq!(global.root, PathBuf::from("/r"));
    assert_eq!(global.log_format, LogFormat::Json);
    assert_eq!(global.rootless, Rootless::Yes);
    let Verb::Create(bring) = verb else {
        panic!("{verb:?}");
    };
    assert_eq!((bring.id.as_str(), bring.bundle), ("web", "/b".into()));
    assert_eq!(bring.console_socket, Some("/c".into()));
    assert_eq!(bring.root_switch, runtime::RootSwitch::Move);
    let (_, verb) = read("kill web SIGKILL").unwrap();
    assert!(matches!(verb, Verb::Kill { signal: 9, .. }));
    let (_, verb) = read("exec -u 1 --tty=false web sh -c --x=y").unwrap();
    let Verb::Exec(exec) = verb else {
        panic!("{verb:?}");
    };
    assert_eq!(exec.args, ["sh", "-c", "--x=y"]);
    assert!(!exec.tty);
    let (_, verb) = read("checkpoint --help").unwrap();
    assert_eq!(verb, Verb::Help(Some("checkpoint".to_owned())));
}

#[test]
fn options_stand_on_either_side_of_the_id() {
    for line in ["delete --force web", "delete web --force", "delete web -f"] {
        let (_, verb) = read(line).unwrap();
        assert!(matches!(verb, Verb::Delete { force: true, .. }), "{line}");
    }
    let (_, verb) = read("kill web 9 --all").unwrap();
    assert!(matches!(verb, Verb::Kill { all: true, .. }));
    let (_, verb) = read("run web --detach --bundle /b").unwrap();
    assert!(matches!(verb, Verb::Run { detach: true, .. }));
    for line in ["ps --format json web", "ps web --format json"] {
        let (_, verb) = read(line).unwrap();
        let expected = Verb::Ps {
            id: "web".to_owned(),
            format: ListFormat::Json,
            options: Vec::new(),
        };
        assert_eq!(verb, expected);
    }
    let (_, verb) = read("ps web -ef --cols 9").unwrap();
    assert!(matches!(verb, Verb::Ps { options, .. } if options == ["-ef", "--cols", "9"]));
}

#[test]
fn where_to_log_is_known_even_if_the_rest_is_wrong() {
    let words = ["--log", "/l", "start"].map(str::to_owned).to_vec();
    let (global, verb) = parse(words, PathBuf::new());
    assert!(verb.is_err());
    assert_eq!(global.log, Some("/l".into()));
}

#[test]
fn refuses_ids_that_lead_elsewhere() {
    for bad in [
        "start ../x",
        "start .",
        "delete a/b",
        "frobnicate x",
        "start",
        "start a b",
        "create --preserve-fds 61 web",
        "exec --process /p web sh",
        "exec web",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn signals_have_numbers_and_names() {
    for (name, number) in [
        ("9", 9),
        ("KILL", 9),
        ("SIGTERM", 15),
        ("sigint", 2),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("SIGRTMIN", 34),
    ] {
        assert_eq!(signal_number(name).unwrap(), number, "{name}");
    }
    for name in ["", "65", "-1", "NOPE", "RTMIN+99", "RTMINx"] {
        assert!(signal_number(name).is_err(), "{name}");
    }
}

#[test]
fn intervals_are_times() {
    for (text, millis) in [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("2", 2000)] {
        let (_, verb) = read(&format!("events --interval {text} web")).unwrap();
        let expected = std::time::Duration::from_millis(millis);
        assert!(
            matches!(verb, Verb::Events { interval, .. } if interval == expected),
            "{text}"
        );
    }
    for text in ["0", "x", "5y", "s"] {
        assert!(read(&format!("events --interval {text} web")).is_err());
    }
}
