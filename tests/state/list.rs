//! `ps` and `inspect`: columns, filters, templates, JSON.

use black_box_tests::{BUSYBOX, bed, binary};
use serde_json::Value;

#[test]
fn ps_shows_what_runs() {
    bed!(|bed| {
        assert_eq!(
            bed.run(&["ps"])
                .ok()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES"
        );
        let id = bed.start(&["--name", "up", "-p", "127.0.0.1:8080:80"]);
        bed.run(&["run", "--name", "down", BUSYBOX, "false"])
            .code(1);
        bed.run(&["create", "--name", "new", BUSYBOX]).ok();
        let running = bed.run(&["ps"]).ok();
        assert_eq!(running.lines().count(), 2, "{running}");
        for part in [
            &id[..12],
            "busybox",
            "\"sleep 1000\"",
            "Up ",
            "127.0.0.1:8080->80/tcp",
            "up",
        ] {
            assert!(running.contains(part), "{part} is missing:\n{running}");
        }
        let all = bed.run(&["ps", "--all"]).ok();
        for part in ["Exited (1)", "Created", "down", "new"] {
            assert!(all.contains(part), "{part} is missing:\n{all}");
        }
        assert_eq!(bed.run(&["ps", "-q"]).ok(), id[..12]);
        assert_eq!(bed.run(&["ps", "-q", "--no-trunc"]).ok(), id);
        assert_eq!(
            bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok(),
            "new\ndown\nup",
            "the newest first"
        );
        assert_eq!(bed.run(&["ps", "-l", "--format", "{{.Names}}"]).ok(), "new");
        assert_eq!(
            bed.run(&["ps", "-n", "2", "--format", "{{.Names}}"]).ok(),
            "new\ndown"
        );
    });
}

#[test]
fn filters() {
    bed!(|bed| {
        bed.start(&["--name", "web-1"]);
        bed.start(&["--name", "web-2"]);
        bed.run(&["run", "--name", "job", BUSYBOX, "sh", "-c", "exit 3"])
            .code(3);
        let names = |filters: &[&str]| {
            let mut arguments = vec!["ps", "-a", "--format", "{{.Names}}"];
            for filter in filters {
                arguments.extend(["--filter", filter]);
            }
            let mut names: Vec<_> = bed
                .run(&arguments)
                .ok()
                .lines()
                .map(ToOwned::to_owned)
                .collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(&["name=web"]), "web-1 web-2");
        assert_eq!(names(&["name=^web-2$"]), "web-2");
        assert_eq!(names(&["status=exited"]), "job");
        assert_eq!(names(&["status=running", "name=1"]), "web-1");
        assert_eq!(names(&["exited=3"]), "job");
        assert_eq!(names(&["ancestor=busybox"]), "job web-1 web-2");
        let id = bed.inspect("job", "{{.Id}}");
        assert_eq!(names(&[&format!("id={}", &id[..10])]), "job");
        bed.run(&["ps", "--filter", "nonsense=1"])
            .fails(1, &["nonsense"]);
    });
}

#[test]
fn templates() {
    bed!(|bed| {
        bed.start(&["--name", "one", "-l", "a=b"]);
        let line = bed
            .run(&[
                "ps",
                "--format",
                "{{.Names}}|{{.Image}}|{{.State}}|{{.Labels}}|{{.Command}}",
            ])
            .ok();
        assert_eq!(line, "one|busybox|running|a=b|\"sleep 1000\"");
        let table = bed
            .run(&["ps", "--format", "table {{.Names}}\t{{.Status}}"])
            .ok();
        assert!(
            table.starts_with("NAMES") && table.lines().nth(1).unwrap().starts_with("one"),
            "{table}"
        );
        let json: Value = bed.run(&["ps", "--format", "json"]).json();
        assert_eq!(json["Names"], "one");
        assert_eq!(json["State"], "running");
        assert_eq!(
            bed.run(&["ps", "--format", "{{upper .Names}} {{json .State}}"])
                .ok(),
            "ONE \"running\""
        );
        bed.run(&["ps", "--format", "{{.NoSuchField}}"])
            .fails(1, &["NoSuchField"]);
        bed.run(&["ps", "--format", "{{.Names"])
            .fails(1, &["template"]);
    });
}

#[test]
fn inspect() {
    bed!(|bed| {
        let id = bed.start(&[
            "--name",
            "one",
            "-e",
            "A=1",
            "-v",
            "vol:/data",
            "-m",
            "64m",
            "-p",
            "127.0.0.1:9000:90",
            "--hostname",
            "h",
        ]);
        let json = bed.run(&["inspect", "one"]).json();
        let one = &json[0];
        assert_eq!(one["Id"], id.as_str());
        assert_eq!(one["Name"], "/one");
        assert_eq!(one["Path"], "sleep");
        assert_eq!(one["Args"], serde_json::json!(["1000"]));
        assert_eq!(one["State"]["Status"], "running");
        assert_eq!(one["State"]["Running"], true);
        assert_eq!(one["State"]["ExitCode"], 0);
        assert!(one["State"]["Pid"].as_u64().unwrap() > 1);
        assert_eq!(one["Config"]["Hostname"], "h");
        assert!(
            one["Config"]["Env"]
                .as_array()
                .unwrap()
                .iter()
                .any(|line| line == "A=1")
        );
        assert_eq!(one["HostConfig"]["Memory"], 64 << 20);
        assert_eq!(
            one["NetworkSettings"]["Ports"]["90/tcp"][0]["HostPort"],
            "9000"
        );
        assert!(
            one["NetworkSettings"]["IPAddress"]
                .as_str()
                .unwrap()
                .contains('.')
        );
        assert_eq!(one["Mounts"][0]["Destination"], "/data");
        assert_eq!(one["Mounts"][0]["Name"], "vol");
        assert!(one["Image"].as_str().unwrap().starts_with("sha256:"));
        // A made-up process number is worth nothing: it has to be the container's.
        let words = std::fs::read(format!("/proc/{}/cmdline", one["State"]["Pid"])).unwrap();
        assert_eq!(words, b"sleep\x001000\0");

        let env = bed
            .run(&["inspect", "-f", "{{json .Config.Env}}", "one"])
            .json();
        assert!(
            env.as_array().unwrap().iter().any(|line| line == "A=1"),
            "{env}"
        );
        assert_eq!(
            bed.inspect("one", "{{range .Mounts}}{{.Destination}} {{end}}")
                .trim(),
            "/data"
        );
        assert_eq!(
            bed.inspect(
                "one",
                r#"{{(index (index .NetworkSettings.Ports "90/tcp") 0).HostPort}}"#
            ),
            "9000"
        );
        let image = bed.run(&["inspect", "--type", "image", "busybox"]).json();
        assert_eq!(image[0]["Os"], "linux");
        assert_eq!(image[0]["RepoTags"][0], "busybox:latest");
        let both = bed.run(&["inspect", "one", "nobody"]);
        assert!(
            both.error().to_lowercase().contains("nobody"),
            "{}",
            both.story()
        );
        assert_eq!(both.status.code(), Some(1));
    });
}

#[test]
fn times_are_told_in_rfc_3339() {
    bed!(|bed| {
        bed.run(&["run", "--name", "job", BUSYBOX, "true"]).ok();
        for field in [
            "{{.Created}}",
            "{{.State.StartedAt}}",
            "{{.State.FinishedAt}}",
        ] {
            let time = bed.inspect("job", field);
            assert!(
                time.len() >= 20
                    && time.starts_with("20")
                    && time.ends_with('Z')
                    && &time[10..11] == "T",
                "{field}: {time}"
            );
        }
        assert!(
            bed.run(&["ps", "-a"]).ok().contains("second"),
            "ages are for people"
        );
    });
}

#[test]
fn info_and_version() {
    bed!(|bed| {
        bed.start(&[]);
        let info = bed.run(&["info"]).ok();
        assert!(info.contains("Containers: 1"), "{info}");
        assert!(info.contains(bed.root().to_str().unwrap()), "{info}");
        assert!(
            bed.run(&["version"])
                .ok()
                .contains(env!("CARGO_PKG_VERSION"))
        );
        assert!(
            bed.run(&["--version"])
                .ok()
                .contains(env!("CARGO_PKG_VERSION"))
        );
        for word in ["run", "exec", "commit", "push"] {
            assert!(bed.run(&["--help"]).ok().contains(word));
        }
        bed.run(&["no-such-command"]).fails(1, &["no-such-command"]);
    });
}

#[test]
fn completions_and_manual_pages() {
    bed!(|bed| {
        for shell in ["bash", "zsh", "fish"] {
            assert!(
                bed.run(&["completion", shell]).ok().contains("wharf"),
                "{shell}"
            );
        }
        let dir = bed.dir().join("man");
        std::fs::create_dir(&dir).unwrap();
        bed.run(&["internal", "man", dir.to_str().unwrap()]).ok();
        assert!(
            std::fs::read_to_string(dir.join("wharf-run.1"))
                .unwrap()
                .contains("\\-\\-publish")
        );
    });
}

/// A thousand containers are listed as fast as this is true of each: two files of it are opened, no more.
#[test]
fn two_files_are_read_for_each_that_runs() {
    bed!(|bed| {
        let quiet = bed.start(&["--network", "none"]);
        let published = bed.start(&["-p", "127.0.0.1:8080:80"]);
        let record = bed.dir().join("calls");
        let wharf = binary("wharf");
        let [record, wharf, root, runroot] = [&record, &wharf, bed.root(), bed.runroot()]
            .map(|path: &std::path::Path| path.to_str().unwrap());
        let trace = ["-f", "-qq", "-e", "trace=openat", "-o", record];
        let ps = [wharf, "--root", root, "--runroot", runroot, "ps", "-q"];
        let listed = bed.host("strace", &[&trace[..], &ps].concat()).ok();
        assert_eq!(listed.lines().count(), 2, "{listed}");
        let calls = std::fs::read_to_string(record).unwrap();
        let opened = |part: &str| calls.lines().filter(|call| call.contains(part)).count();
        assert_eq!(opened(&quiet), 2, "{calls}");
        assert_eq!(opened(&published), 3, "its ports are in a third:\n{calls}");
        let facts = bed
            .runroot()
            .join("containers")
            .join(&quiet)
            .join("facts.json");
        let facts = std::fs::read_to_string(facts).unwrap();
        // Before Linux 6.9 there is no other way than /proc to see that it lives.
        if facts.contains("init_inode") {
            assert_eq!(opened("/stat\""), 0, "{calls}");
        }
    });
}
