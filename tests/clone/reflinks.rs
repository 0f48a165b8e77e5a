//! On a store with reflinks clones share the blocks of shared memory.

use black_box_tests::{BUSYBOX, Store, bed, eventually};

/// 64 MB of shared memory that a child fills; once told to go on, both write to it and look at all of it.
const PROGRAM: &str = r#"
import mmap, os, socket, time
size = 64 << 20
memory = mmap.mmap(-1, size)
name = socket.gethostname
child = os.fork()
if child == 0:
    for at in range(0, size, 4096):
        memory[at:at + 8] = at.to_bytes(8, "little")
    open("/ready", "w").close()
while not os.path.exists("/go"):
    time.sleep(0.01)
if child == 0:
    memory[100:164] = name().ljust(64).encode()
    os._exit(0)
os.waitpid(child, 0)
good = all(memory[at:at + 8] == at.to_bytes(8, "little") for at in range(0, size, 4096))
own = memory[100:164].decode().strip() == name()
print("good" if good and own else "bad", flush=True)
"#;

/// The mapping of 64 MB in the container's init: where it is from, and how many kilobytes of it are present.
fn mapping(pid: &str) -> (String, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut lines = text.lines();
    let is_it = |line: &str| {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let size = range.and_then(|(from, to)| Some(number(to)? - number(from)?));
        size == Some(64 << 20) && line.contains(" rw-s ")
    };
    let head = lines.find(|line| is_it(line)).unwrap().to_owned();
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    (
        head,
        rss.trim().strip_suffix(" kB").unwrap().parse().unwrap(),
    )
}

#[test]
fn shared_memory_is_not_copied_and_everybody_has_their_own() {
    bed!(|bed| {
        let store = Store::on(bed, "1G", &["mkfs.xfs", "-q"]);
        store.load_busybox().ok();
        judge(&store);
        store.remove();
    });
}

fn judge(store: &Store<'_>) {
    let wharf = |words: &[&str]| store.run(words);
    let usual = ["run", "-d", "--name", "one", "--network", "none"];
    // What the machine's Python needs.
    let mounts = [
        "-v",
        "/usr:/usr:ro",
        "-v",
        "/lib:/lib:ro",
        "-v",
        "/lib64:/lib64:ro",
    ];
    let command = [BUSYBOX, "/usr/bin/python3", "-c", PROGRAM];
    wharf(&[&usual[..], &mounts, &command].concat()).ok();
    let exec = |name: &str, words: &[&str]| wharf(&[&["exec", name], words].concat());
    eventually(20, "the memory to be full", || {
        exec("one", &["test", "-e", "/ready"])
            .status
            .success()
            .then_some(())
    });
    wharf(&["clone", "--keep-template=warm", "one", "0"]).ok();
    wharf(&["clone", "--name-prefix", "c", "warm", "2"]).ok();
    for name in ["c-1", "c-2"] {
        let pid = wharf(&["inspect", "-f", "{{.State.Pid}}", name]).ok();
        let (head, present) = mapping(&pid);
        assert!(head.contains("/templates/"), "{head}");
        assert!(
            present < 1024,
            "{present} kB are there before anybody looked: {head}"
        );
    }
    // Such memory is written down and becomes memory again.
    wharf(&["clone", "--name", "late", "c-1"]).ok();
    let names = ["late", "c-1", "one", "c-2"];
    for name in names {
        exec(name, &["touch", "/go"]).ok();
    }
    for name in names {
        assert_eq!(wharf(&["wait", name]).ok(), "0", "{name}");
        assert_eq!(wharf(&["logs", name]).ok(), "good", "{name}");
    }
}
