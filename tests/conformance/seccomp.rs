//! `linux.seccomp`: every action, flag and comparison, seen from the calls that are filtered.

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixListener;

use black_box_tests::{Bed, Bundle, bed};
use serde_json::{Value, json};

/// A container that runs a script under a profile that allows everything but `rule`.
fn filtered<'a>(bed: &'a Bed, script: &str, rule: &Value) -> Bundle<'a> {
    let mut bundle = Bundle::shell(bed, script);
    bundle.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}),
    );
    bundle
}

#[test]
fn each_action_does_what_its_name_says() {
    bed!(|bed| {
        let script = "mkdir /tmp/x 2>&1; echo code $?";
        for (action, seen) in [
            (
                json!({"action": "SCMP_ACT_ERRNO"}),
                "Operation not permitted",
            ),
            (
                json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 28}),
                "No space left",
            ),
            // Nobody traces.
            (
                json!({"action": "SCMP_ACT_TRACE", "errnoRet": 5}),
                "not implemented",
            ),
            (json!({"action": "SCMP_ACT_KILL"}), "code 159"),
            (json!({"action": "SCMP_ACT_KILL_THREAD"}), "code 159"),
            (json!({"action": "SCMP_ACT_KILL_PROCESS"}), "code 159"),
            (json!({"action": "SCMP_ACT_TRAP"}), "code 159"),
            (json!({"action": "SCMP_ACT_LOG"}), "code 0"),
            (json!({"action": "SCMP_ACT_ALLOW"}), "code 0"),
        ] {
            let mut rule = action.clone();
            rule["names"] = json!(["mkdir", "mkdirat", "no_such_call"]);
            let bundle = filtered(bed, script, &rule);
            let printed = bundle.output();
            assert!(printed.contains(seen), "{action}: {printed}");
        }
    });
}

#[test]
fn arguments_are_compared() {
    bed!(|bed| {
        // chmod /tmp MODE: the mode is an argument.
        let script = "for m in 1 2 3 4 7; do chmod $m /tmp 2>/dev/null && echo -n $m; done; true";
        let arg = |op: &str, value: u64, two: u64| json!([{"index": 1, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": two}]);
        for (args, allowed) in [
            (arg("EQ", 3, 0), "1247"),
            (arg("NE", 3, 0), "3"),
            (arg("GT", 3, 0), "123"),
            (arg("GE", 3, 0), "12"),
            (arg("LT", 3, 0), "347"),
            (arg("LE", 3, 0), "47"),
            (arg("MASKED_EQ", 2, 2), "14"),
            (
                json!([{"index": 1, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 1, "op": "SCMP_CMP_EQ", "value": 7}]),
                "234",
            ),
            (
                json!([{"index": 1, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]),
                "12347",
            ),
        ] {
            let rule = json!({"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": args});
            assert_eq!(filtered(bed, script, &rule).output(), allowed, "{args}");
        }
    });
}

#[test]
fn a_profile_need_not_allow_what_the_runtime_does() {
    bed!(|bed| {
        // Just what busybox needs to say a word.
        let mut bundle = Bundle::new(bed, &["echo", "word"]);
        let names = json!([
            "execve",
            "write",
            "exit_group",
            "brk",
            "arch_prctl",
            "set_tid_address",
            "set_robust_list",
            "rseq",
            "prlimit64",
            "readlink",
            "readlinkat",
            "getrandom",
            "mprotect",
            "getuid",
            "fstat",
            "newfstatat",
            "ioctl",
            "uname",
            "prctl"
        ]);
        bundle.set("/linux/seccomp", json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
            "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        }));
        assert_eq!(bundle.output(), "word");
    });
}

#[test]
fn what_cannot_be_honored_is_named() {
    bed!(|bed| {
        let rule = |action: &str| json!({"names": ["mkdir"], "action": action});
        for (profile, parts) in [
            (
                json!({"defaultAction": "SCMP_ACT_X"}),
                ["defaultAction", "SCMP_ACT_X"],
            ),
            (
                json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
                ["defaultAction", "SCMP_ACT_NOTIFY"],
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
                ["defaultAction", "errnoRet"],
            ),
            (
                json!({"syscalls": [rule("SCMP_ACT_X")]}),
                ["syscalls[0]", "SCMP_ACT_X"],
            ),
            (
                json!({"syscalls": [rule("SCMP_ACT_NOTIFY")]}),
                ["listenerPath", "SCMP_ACT_NOTIFY"],
            ),
            (
                json!({"syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]}),
                ["syscalls[0]", "names"],
            ),
            (
                json!({"listenerMetadata": "x"}),
                ["listenerMetadata", "listenerPath"],
            ),
            (
                json!({"flags": ["SECCOMP_FILTER_FLAG_X"]}),
                ["flags", "SECCOMP_FILTER_FLAG_X"],
            ),
            (
                json!({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
                ["flags", "SCMP_ACT_NOTIFY"],
            ),
            (
                json!({"architectures": ["SCMP_ARCH_VAX"]}),
                ["architectures", "SCMP_ARCH_VAX"],
            ),
            (
                json!({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_LOG", "errnoRet": 4}]}),
                ["syscalls[0]", "errnoRet"],
            ),
            (
                json!({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_LOG",
                                     "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]}]}),
                ["syscalls[0]", "index 6"],
            ),
            (
                json!({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_LOG",
                                     "args": [{"index": 1, "op": "SCMP_CMP_X", "value": 1}]}]}),
                ["syscalls[0]", "SCMP_CMP_X"],
            ),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}));
            for (name, value) in profile.as_object().unwrap() {
                bundle.config["linux"]["seccomp"][name] = value.clone();
            }
            bundle.is_refused(&parts);
        }
    });
}

/// Answers every question with "go on" until the one who asks is gone; needs ioctl(2).
const AGENT: &str = r"
import array, fcntl, json, os, socket, struct, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(sys.argv[1])
server.listen(1)
print('ready', flush=True)
for _ in range(int(sys.argv[2])):
    client, _ = server.accept()
    text, ancillary, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(4))
    listener = array.array('i', ancillary[0][2][:4])[0]
    while True:
        try:
            text += (more := client.recv(65536))
        except OSError:
            break
        if not more:
            break
    state = json.loads(text)
    asked = bytearray(80)
    fcntl.ioctl(listener, 0xc0502100, asked)
    ident, pid = struct.unpack_from('QI', asked)
    print(json.dumps({'state': state, 'asker': pid}), flush=True)
    fcntl.ioctl(listener, 0xc0182101, bytearray(struct.pack('QqiI', ident, 0, -17, 0)))
";

#[test]
fn somebody_is_asked_and_told_about_whom() {
    bed!(|bed| {
        let socket = bed.dir().join("agent.sock");
        let path = socket.to_str().unwrap();
        let script = bed.file("agent.py", AGENT);
        let agent = bed.program("python3", &[&script, path, "2"]).start();
        agent.wait_for("ready");
        let script = "mkdir /tmp/x 2>&1; sleep 100";
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"});
        let mut bundle = filtered(bed, script, &rule);
        bundle.set("/linux/seccomp/listenerPath", json!(path));
        bundle.set("/linux/seccomp/listenerMetadata", json!("some words"));
        bundle.set(
            "/linux/seccomp/flags",
            json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
        );
        bundle.create().ok();
        let pid = bundle.runtime(&["state", bundle.id()]).json()["pid"].clone();
        bundle.runtime(&["start", bundle.id()]).ok();
        black_box_tests::eventually(20, "the answer", || {
            bundle.printed().contains("File exists").then_some(())
        });
        // One that joins has a connection of its own.
        let joined =
            bundle.runtime(&["exec", bundle.id(), "sh", "-c", "mkdir /tmp/y 2>&1 || true"]);
        assert!(joined.ok().contains("File exists"), "{}", joined.story());
        let told = agent.finish().text();
        let told: Vec<Value> = told
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for (told, status) in told.iter().zip(["creating", "running"]) {
            let state = &told["state"];
            assert_eq!(state["fds"], json!(["seccompFd"]));
            assert_eq!(state["metadata"], "some words");
            assert_eq!(state["ociVersion"], "1.3.0");
            assert_eq!(state["state"]["id"], bundle.id());
            assert_eq!(state["state"]["status"], status);
            assert_eq!(state["state"]["pid"], pid);
        }
        assert_eq!(told[0]["state"]["pid"], pid);
        assert_ne!(told[1]["state"]["pid"], pid);
        bundle.delete();
    });
}

#[test]
fn an_agent_that_is_not_there_is_an_error() {
    bed!(|bed| {
        let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"});
        let mut bundle = filtered(bed, "true", &rule);
        bundle.set("/linux/seccomp/listenerPath", json!("/run/nobody.sock"));
        bundle.is_refused(&["linux.seccomp.listenerPath", "/run/nobody.sock"]);
        // Without the action the path means nothing.
        bundle.set("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_LOG"));
        bundle.output();
    });
}

/// An agent that takes the descriptor and lets go of it at once: the calls then fail, nobody hangs.
#[test]
fn an_agent_that_goes_away_does_not_hang_the_container() {
    bed!(|bed| {
        let path = bed.dir().join("gone.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut text = String::new();
            // Read as plain bytes: the descriptor that came along is closed by the kernel.
            client.read_to_string(&mut text).unwrap();
            text
        });
        let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"});
        let mut bundle = filtered(bed, "mkdir /tmp/x 2>&1; echo end", &rule);
        bundle.set("/linux/seccomp/listenerPath", json!(path.to_str().unwrap()));
        let printed = bundle.output();
        assert!(
            printed.contains("not implemented") && printed.ends_with("end"),
            "{printed}"
        );
        let text = thread.join().unwrap();
        assert!(
            serde_json::from_str::<Value>(&text).unwrap()["pid"].is_i64(),
            "{text}"
        );
        fs::remove_file(path).unwrap();
    });
}
