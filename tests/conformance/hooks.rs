//! `hooks`: when, where and with what each of the six kinds runs, and what their failure does.

use std::fs;

use black_box_tests::{Bed, Bundle, bed};
use serde_json::{Value, json};

/// A hook that writes what it sees of itself into a file: namespaces, state, arguments, environment.
fn witness(bed: &Bed, name: &str) -> Value {
    let script = format!(
        "cat >{0}/{1}.state; for n in mnt pid net; do readlink /proc/self/ns/$n; done >{0}/{1}.ns; \
         echo \"$0 $1\" >{0}/{1}.args; tr '\\0' '\\n' </proc/self/environ >{0}/{1}.env; echo {1} >>{0}/order",
        bed.dir().display(),
        name
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script, name, "two words"], "env": ["A=b", "PATH=/bin:/usr/bin"]})
}

#[test]
fn each_runs_in_its_place_with_its_state() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["sleep", "100"]);
        // What hooks in the container's root write shows outside.
        let dir = bed.dir().to_str().unwrap().to_owned();
        bundle.mount(&dir, "bind", &dir, &["bind", "rw"]);
        let kinds = [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ];
        for kind in kinds {
            bundle.push(&format!("/hooks/{kind}"), witness(bed, kind));
        }
        bundle.set("/annotations", json!({"a.key": "value"}));
        bundle.create().ok();
        let read = |name: &str| fs::read_to_string(bed.dir().join(name)).unwrap_or_default();
        let pid = bundle.runtime(&["state", bundle.id()]).json()["pid"]
            .as_i64()
            .unwrap();
        assert_eq!(
            read("startContainer.state"),
            "",
            "the start has not come yet"
        );
        bundle.runtime(&["start", bundle.id()]).ok();
        let link = |pid: i64, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        let ours = std::process::id().into();
        let host = ["mnt", "pid", "net"]
            .map(|name| link(ours, name).display().to_string())
            .join("\n");
        let inside = ["mnt", "pid", "net"]
            .map(|name| link(pid, name).display().to_string())
            .join("\n");
        bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
        bundle.wait_stopped();
        bundle.runtime(&["delete", bundle.id()]).ok();
        assert_eq!(
            read("order"),
            kinds.map(|kind| format!("{kind}\n")).concat()
        );
        for (kind, status, seen, place) in [
            ("prestart", "creating", pid, &host),
            ("createRuntime", "creating", pid, &host),
            ("createContainer", "creating", 1, &inside),
            ("startContainer", "created", 1, &inside),
            ("poststart", "running", pid, &host),
            ("poststop", "stopped", 0, &host),
        ] {
            let state: Value =
                serde_json::from_str(&read(&format!("{kind}.state"))).unwrap_or_default();
            assert_eq!(state["status"], status, "{kind}: {state}");
            assert_eq!(state["id"], bundle.id(), "{kind}");
            assert_eq!(state["bundle"], bundle.dir().to_str().unwrap(), "{kind}");
            assert_eq!(state["annotations"]["a.key"], "value", "{kind}");
            assert_eq!(state["ociVersion"], "1.3.0", "{kind}");
            assert_eq!(state["pid"].as_i64().unwrap_or(0), seen, "{kind}");
            assert_eq!(read(&format!("{kind}.ns")).trim_end(), place, "{kind}");
            assert_eq!(
                read(&format!("{kind}.args")),
                format!("{kind} two words\n"),
                "arguments as given"
            );
            let env = read(&format!("{kind}.env"));
            assert!(env.starts_with("A=b\nPATH=/bin:/usr/bin\n"), "{env}");
            assert!(
                !env.contains("WHARF") && !env.contains("HOME="),
                "nothing else: {env}"
            );
        }
    });
}

#[test]
fn hooks_of_the_runtime_find_the_mounts_made_and_the_root_not_entered() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["true"]);
        let seen = bed.dir().join("seen");
        // What a hook that adds device nodes or libraries looks for: the container's own mounts below the bundle.
        let script = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); grep -c \"{}/\\(proc\\|dev/pts\\) \" /proc/$pid/mountinfo >>{}",
            bundle.root().display(),
            seen.display()
        );
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        bundle
            .push("/hooks/prestart", hook.clone())
            .push("/hooks/createRuntime", hook);
        bundle.output();
        assert_eq!(fs::read_to_string(&seen).unwrap(), "2\n2\n");
    });
}

#[test]
fn a_hook_that_fails_before_the_start_ends_it() {
    bed!(|bed| {
        for kind in [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
        ] {
            let mut bundle = Bundle::new(bed, &["sh", "-c", "echo ran"]);
            bundle.push(
                &format!("/hooks/{kind}"),
                json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}),
            );
            let said = bundle.is_refused(&[&format!("hooks.{kind}[0]"), "/bin/sh", "code 3"]);
            assert!(!said.contains("ran"), "{said}");
        }
    });
}

#[test]
fn poststop_hooks_all_run_whatever_they_say() {
    bed!(|bed| {
        let mark = bed.dir().join("mark");
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.push("/hooks/poststop", json!({"path": "/missing"}));
        bundle.push(
            "/hooks/poststop",
            json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 4"]}),
        );
        let touch = format!("echo x >>{}", mark.display());
        bundle.push(
            "/hooks/poststop",
            json!({"path": "/bin/sh", "args": ["sh", "-c", touch]}),
        );
        let outcome = bundle.run();
        outcome.ok();
        assert!(
            outcome.error().contains("hooks.poststop"),
            "{}",
            outcome.story()
        );
        assert_eq!(fs::read_to_string(&mark).unwrap(), "x\n");
    });
}

#[test]
fn a_hook_that_hangs_is_killed_after_its_timeout() {
    bed!(|bed| {
        let mut bundle = Bundle::new(bed, &["true"]);
        bundle.push(
            "/hooks/createRuntime",
            json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}),
        );
        bundle.is_refused(&["hooks.createRuntime[0]", "longer than 1 s"]);
        bundle.set("/hooks/createRuntime/0/timeout", json!(0));
        bundle.is_refused(&["hooks.createRuntime[0].timeout"]);
        bundle.set("/hooks", json!({"poststop": [{"path": "sleep"}]}));
        bundle.is_refused(&["hooks.poststop[0].path", "absolute"]);
    });
}
