//! Templates that are kept: clones of them later on, without the container.

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

use crate::{count, counter, counts_on, inside, templates};

#[test]
fn clones_of_what_was_kept() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "data:/data", "--label", "a=b"]);
        inside(bed, "one", "echo first > /data/file");
        assert_eq!(bed.run(&["clone", "--keep-template", "one", "0"]).ok(), "");
        let before = count(bed, "one");
        inside(bed, "one", "echo later > /data/file");
        assert_eq!(bed.run(&["template", "ls", "-q"]).ok(), "one-template");
        bed.run(&["clone", "--keep-template=warm", "--name", "two", "one"])
            .ok();
        bed.run(&["rm", "-f", "one"]).ok();
        bed.run(&["volume", "rm", "data"]).ok();
        bed.run(&["clone", "--name-prefix", "c", "one-template", "2"])
            .ok();
        for name in ["c-1", "c-2"] {
            counts_on(bed, name);
            let log = bed.run(&["logs", name]).ok();
            let first: u64 = log.lines().next().unwrap().parse().unwrap();
            assert!(first <= before + 1, "{first} {before}");
            assert_eq!(inside(bed, name, "cat /data/file"), "first");
            inside(bed, name, "echo $(hostname) > /data/file");
        }
        let line = "{{.Name}} {{.Container}} {{.Clones}}";
        assert_eq!(
            bed.run(&["template", "ls", "--format", line]).ok(),
            "warm one 1\none-template one 2"
        );
        let about = bed.run(&["template", "inspect", "warm"]).json();
        assert_eq!(about[0]["Container"]["Name"], "one");
        assert_eq!(about[0]["Clones"][0], bed.inspect("two", "{{.Id}}"));
        assert!(about[0]["MemorySize"].as_u64().unwrap() > 0);
        let usage = bed
            .run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"])
            .ok();
        assert!(usage.contains("Templates 2"), "{usage}");
        // Without its name it goes, and its clones keep what they have of it.
        bed.run(&["template", "rm", "one-template"]).ok();
        bed.run(&["clone", "one-template"])
            .fails(125, &["no such container: one-template"]);
        counts_on(bed, "c-1");
        bed.run(&["rm", "-f", "two"]).ok();
        bed.run(&["clone", "--name", "three", "warm"]).ok();
        counts_on(bed, "three");
        assert_eq!(inside(bed, "three", "cat /data/file"), "later");
        bed.run(&["rm", "-f", "three", "c-1", "c-2"]).ok();
        assert_eq!(templates(bed), 1);
        bed.run(&["template", "rm", "warm"]).ok();
        assert_eq!(templates(bed), 0);
    });
}

#[test]
fn what_is_said_of_names() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&["clone", "--keep-template=warm", "one", "0"]).ok();
        bed.run(&["clone", "--keep-template=warm", "one"])
            .fails(125, &["there is a template warm already"]);
        bed.run(&["clone", "--keep-template=other", "warm"])
            .fails(125, &["warm is a template, which is kept already"]);
        bed.run(&["clone", "warm", "0"])
            .fails(125, &["from 1 to 10000"]);
        for verb in ["rm", "inspect"] {
            bed.run(&["template", verb, "none"])
                .fails(1, &["no such template: none"]);
        }
        // It keeps its image.
        bed.run(&["rm", "-f", "one"]).ok();
        bed.run(&["rmi", "busybox"])
            .fails(1, &["is used by template warm"]);
        bed.run(&["system", "prune", "-a", "-f"]).ok();
        bed.run(&["clone", "--name", "two", "warm"]).ok();
        counts_on(bed, "two");
        bed.run(&["template", "rm", "warm"]).ok();
    });
}

#[test]
fn a_kept_template_goes_if_its_first_clone_fails() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&["clone", "--keep-template", "--hook", "false", "one"])
            .fails(125, &["hook in"]);
        assert_eq!(bed.run(&["template", "ls", "-q"]).ok(), "");
        assert_eq!(templates(bed), 0);
        counts_on(bed, "one");
    });
}

/// Bytes of memory that are a process's alone, others' shares left out.
fn share_of(bed: &Bed, name: &str) -> u64 {
    let init = bed.inspect(name, "{{.State.Pid}}");
    let text = std::fs::read_to_string(format!("/proc/{init}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

#[test]
fn clones_share_their_memory_and_outlive_the_process_that_has_it() {
    bed!(|bed| {
        // A shell with 32 MB in a variable, which it can still read after everything.
        let script = "x=$(head -c 33554432 /dev/zero | tr '\\0' a); echo ready; \
                      while read -r word < /fifo; do echo $word ${#x}; done";
        bed.run(&[
            "create",
            "--name",
            "one",
            "--network",
            "none",
            BUSYBOX,
            "sh",
            "-c",
            script,
        ])
        .ok();
        let fifo = bed.dir().join("fifo");
        bed.host("mkfifo", &[fifo.to_str().unwrap()]).ok();
        bed.run(&["cp", fifo.to_str().unwrap(), "one:/fifo"]).ok();
        bed.run(&["start", "one"]).ok();
        eventually(30, "it to be ready", || {
            (bed.run(&["logs", "one"]).ok() == "ready").then_some(())
        });
        let alone = share_of(bed, "one");
        assert!(alone > 32 << 20, "{alone}");
        let names = ["c-1", "c-2", "c-3", "c-4"];
        bed.run(&[
            "clone",
            "--keep-template=warm",
            "--name-prefix",
            "c",
            "one",
            "4",
        ])
        .ok();
        let together: u64 = names.iter().map(|name| share_of(bed, name)).sum();
        assert!(
            together < alone * 3 / 2,
            "{together} bytes of four for {alone} of one"
        );
        let answers = |name: &str| {
            inside(bed, name, "echo heard > /fifo");
            eventually(30, "an answer", || {
                let log = bed.run(&["logs", name]).ok();
                (log.lines().last() == Some("heard 33554432")).then_some(())
            });
        };
        for name in names {
            answers(name);
        }
        // Whoever has the memory may die: clones go on, and it is read again for others.
        let record = std::fs::read_dir(bed.runroot().join("templates"))
            .unwrap()
            .flatten()
            .next()
            .unwrap()
            .path()
            .join("process.json");
        let process = || -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap()
        };
        let pid = process()["pid"].as_i64().unwrap().to_string();
        bed.host("kill", &["-9", &pid]).ok();
        answers("c-1");
        bed.run(&["clone", "--name", "later", "warm"]).ok();
        answers("later");
        assert_ne!(process()["pid"].as_i64().unwrap().to_string(), pid);
        bed.run(&["clone", "--name", "last", "warm"]).ok();
        answers("last");
        answers("one");
        bed.run(&["template", "rm", "warm"]).ok();
        answers("last");
        assert!(!record.exists());
    });
}

#[test]
fn who_comes_from_whom() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        bed.run(&["clone", "--name", "two", "one"]).ok();
        bed.run(&["clone", "--name", "three", "two"]).ok();
        bed.run(&["clone", "--name", "four", "one"]).ok();
        let tree = |options: &[&str]| {
            let mut arguments = vec!["ps", "--tree", "--format", "{{.Names}}|{{.Parent}}"];
            arguments.extend(options);
            bed.run(&arguments).ok()
        };
        assert_eq!(tree(&[]), "one|\n└─ four|one\n└─ two|one\n   └─ three|two");
        assert_eq!(bed.inspect("three", "{{.CloneOf.Name}}"), "two");
        assert_eq!(
            bed.inspect("three", "{{.CloneOf.Id}}"),
            bed.inspect("two", "{{.Id}}")
        );
        bed.run(&["rm", "-f", "two"]).ok();
        assert_eq!(tree(&[]), "three|two\none|\n└─ four|one");
    });
}
