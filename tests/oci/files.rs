//! What is handed over: descriptors, configuration files, messages.

use std::fs;

use black_box_tests::{Bundle, bed, binary};
use serde_json::{Value, json};

#[test]
fn preserved_descriptors() {
    bed!(|bed| {
        let bundle = Bundle::new(
            bed,
            &[
                "sh",
                "-c",
                "cat <&3; cat <&4; ls /proc/self/fd | wc -l; echo $LISTEN_FDS",
            ],
        );
        bundle.command(&["list"]).run().ok();
        let (one, two) = (bed.file("one", "first\n"), bed.file("two", "second\n"));
        let run = |options: &str| {
            let script = format!(
                "exec 3<{one} 4<{two} 5</; exec {} --root /run/oci run {options} --bundle {} {}",
                binary("wharf-runtime").display(),
                bundle.dir().display(),
                bundle.id()
            );
            bed.host("bash", &["-c", &script])
        };
        // Those two, the three standard ones, and the directory that is read.
        assert_eq!(run("--preserve-fds 2").ok(), "first\nsecond\n6");
        assert!(
            run("").error().contains('3'),
            "nothing is handed on unasked"
        );
        let script = format!(
            "exec 3<{one} 4<{two}; export LISTEN_FDS=2 LISTEN_PID=$$; exec {} --root /run/oci run --bundle {} {}",
            binary("wharf-runtime").display(),
            bundle.dir().display(),
            bundle.id()
        );
        assert_eq!(
            bed.host("bash", &["-c", &script]).ok(),
            "first\nsecond\n6\n2"
        );
    });
}

#[test]
fn another_configuration_file() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["echo", "given"]);
        let given = bundle.config.to_string();
        bundle.set("/process/args", json!(["echo", "usual"]));
        let dir = bundle.dir().to_str().unwrap().to_owned();
        assert_eq!(bundle.output(), "usual");
        let file = bed.file("other.json", given);
        assert_eq!(
            bundle
                .runtime(&["run", "-b", &dir, "--config", &file, bundle.id()])
                .ok(),
            "given"
        );
        // Options may come after the id.
        assert_eq!(
            bundle
                .runtime(&["run", bundle.id(), "-b", &dir, "-f", &file])
                .ok(),
            "given"
        );
    });
}

#[test]
fn messages_are_json_where_asked() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["no-such-program"]);
        let log = bed.dir().join("log");
        let dir = bundle.dir().to_str().unwrap();
        bundle
            .runtime(&[
                "--log",
                log.to_str().unwrap(),
                "--log-format",
                "json",
                "create",
                "--bundle",
                dir,
                bundle.id(),
            ])
            .fails(127, &["no-such-program", "not found"]);
        let line = fs::read_to_string(&log).unwrap();
        let message: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
        assert_eq!(message["level"], "error");
        assert!(
            message["msg"].as_str().unwrap().contains("no-such-program"),
            "{message}"
        );
        assert!(message["time"].as_str().unwrap().contains('T'), "{message}");
    });
}

#[test]
fn versions_and_features() {
    bed!(|bed| {
        let bundle = Bundle::new(bed, &["true"]);
        let version = bundle.runtime(&["--version"]).ok();
        assert!(version.starts_with("wharf-runtime version "), "{version}");
        assert!(version.contains("spec: 1.3"), "{version}");
        assert!(version.contains("+SECCOMP"), "{version}");
        let features = bundle.runtime(&["features"]).json();
        assert_eq!(features["ociVersionMax"], "1.3.0");
        for (list, member) in [
            ("/hooks", "poststop"),
            ("/mountOptions", "rro"),
            ("/linux/namespaces", "time"),
            ("/linux/seccomp/actions", "SCMP_ACT_NOTIFY"),
        ] {
            let list = features.pointer(list).unwrap().as_array().unwrap();
            assert!(list.contains(&json!(member)), "{list:?} lacks {member}");
        }
        // The example runs.
        let dir = bed.dir().join("example");
        fs::create_dir(&dir).unwrap();
        bundle
            .runtime(&["spec", "--bundle", dir.to_str().unwrap()])
            .ok();
        let mut example: Value =
            serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        example["process"]["terminal"] = json!(false);
        example["process"]["args"] = json!(["echo", "example"]);
        example["root"]["path"] = json!(bundle.root());
        fs::write(dir.join("config.json"), example.to_string()).unwrap();
        assert_eq!(
            bundle
                .runtime(&["run", "-b", dir.to_str().unwrap(), "example"])
                .ok(),
            "example"
        );
    });
}
