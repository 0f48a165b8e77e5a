//! What is shared with the host or with another container: `--pid`, `--ipc`, `--uts`, `--cgroupns`, `--volumes-from`.

use std::fs;

use black_box_tests::{BUSYBOX, Bed, bed, eventually};

/// The namespace of this test, which is the host to its containers.
fn ours(kind: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

fn inside(bed: &Bed, options: &[&str], kind: &str) -> String {
    bed.shell(options, &format!("readlink /proc/self/ns/{kind}"))
        .ok()
}

#[test]
fn each_of_its_own_or_the_hosts() {
    bed!(|bed| {
        for (kind, option) in [
            ("pid", "--pid=host"),
            ("ipc", "--ipc=host"),
            ("uts", "--uts=host"),
            ("cgroup", "--cgroupns=host"),
        ] {
            assert_ne!(inside(bed, &[], kind), ours(kind), "{kind}");
            assert_eq!(inside(bed, &[option], kind), ours(kind), "{kind}");
        }
        for (option, words) in [
            ("--pid=nonsense", "host or container:NAME"),
            ("--pid=container:", "host or container:NAME"),
            (
                "--ipc=nonsense",
                "private, shareable, none, host or container:NAME",
            ),
            ("--ipc=container:", "container:NAME"),
            ("--uts=private", "host"),
            ("--cgroupns=nonsense", "private or host"),
            ("--userns=keep-id", "have no user namespace of their own"),
        ] {
            bed.run(&["run", "--rm", option, BUSYBOX, "true"])
                .fails(125, &[words]);
        }
        // The one thing that it may be is what it is without a word.
        for options in [&[][..], &["--userns=host"], &["--userns", ""]] {
            assert_eq!(inside(bed, options, "user"), ours("user"), "{options:?}");
        }
    });
}

#[test]
fn the_hosts_processes_and_name() {
    bed!(|bed| {
        let us = std::process::id().to_string();
        let seen = bed
            .shell(&["--pid", "host"], &format!("cat /proc/{us}/comm"))
            .ok();
        let comm = fs::read_to_string(format!("/proc/{us}/comm")).unwrap();
        assert_eq!(seen, comm.trim_end());
        let name = bed.host("hostname", &[]).ok();
        assert_eq!(
            bed.shell(&["--uts", "host"], "hostname; cat /etc/hostname")
                .ok(),
            format!("{name}\n{name}")
        );
        bed.run(&[
            "run", "--rm", "--uts", "host", "-h", "other", BUSYBOX, "true",
        ])
        .fails(125, &["--uts host excludes --hostname"]);
        // In the host's cgroups it finds itself below Wharf's, in its own at the root.
        let id = bed
            .run(&[
                "create",
                "--name",
                "one",
                "--cgroupns",
                "host",
                BUSYBOX,
                "cat",
                "/proc/self/cgroup",
            ])
            .ok();
        let groups = bed.run(&["start", "-a", "one"]).ok();
        assert!(groups.contains(&format!("/wharf/{id}")), "{groups}");
        let groups = bed.shell(&[], "cat /proc/self/cgroup").ok();
        assert!(
            groups.lines().any(|line| line.ends_with(":/")) && !groups.contains("wharf"),
            "{groups}"
        );
        let modes = "{{.HostConfig.PidMode}} {{.HostConfig.IpcMode}} {{.HostConfig.UTSMode}} {{.HostConfig.CgroupnsMode}}";
        assert_eq!(bed.inspect("one", modes), " private  host");
    });
}

#[test]
fn shared_memory_of_nobody_or_of_the_host() {
    bed!(|bed| {
        bed.shell(
            &["--ipc", "none"],
            "test ! -e /dev/shm || ! mount | grep ' /dev/shm '",
        )
        .ok();
        bed.shell(&["--ipc", "private"], "mount | grep -q ' /dev/shm '")
            .ok();
        if !fs::exists("/dev/shm").unwrap() {
            return;
        }
        let name = format!("wharf-test-{}", std::process::id());
        let (path, missing) = (
            format!("/dev/shm/{name}"),
            format!("test ! -e /dev/shm/{name}"),
        );
        fs::write(&path, "of the host").unwrap();
        let seen = bed.shell(&["--ipc", "host"], &format!("cat {path}"));
        let unseen = bed.shell(&[], &missing);
        fs::remove_file(&path).unwrap();
        assert_eq!(seen.ok(), "of the host");
        unseen.ok();
    });
}

#[test]
fn another_containers_processes() {
    bed!(|bed| {
        bed.start(&["--name", "one"]);
        let namespace = bed
            .run(&["exec", "one", "readlink", "/proc/self/ns/pid"])
            .ok();
        let two = [
            "--name",
            "two",
            "--pid",
            "container:one",
            "--network",
            "none",
        ];
        bed.start(&two);
        assert_eq!(
            bed.run(&["exec", "two", "readlink", "/proc/self/ns/pid"])
                .ok(),
            namespace
        );
        let one = bed.inspect("one", "{{.Id}}");
        assert_eq!(
            bed.inspect("two", "{{.HostConfig.PidMode}}"),
            format!("container:{one}")
        );
        // Each sees the other's.
        let count = |name: &str| {
            let list = bed.run(&["exec", name, "ps", "-o", "args"]).ok();
            list.lines().filter(|line| *line == "sleep 1000").count()
        };
        assert_eq!((count("one"), count("two")), (2, 2));
        // The end of the one takes the pid namespace, and so the other, along.
        bed.run(&["rm", "-f", "one"]).ok();
        eventually(30, "the other's end", || {
            (bed.inspect("two", "{{.State.Running}}") == "false").then_some(())
        });
        bed.run(&["start", "two"])
            .fails(1, &["whose processes are joined", "is not running"]);
        bed.run(&["run", "--rm", "--pid", "container:nobody", BUSYBOX, "true"])
            .fails(125, &["no such container: nobody"]);
    });
}

#[test]
fn volumes_of_another_container() {
    bed!(|bed| {
        let source = bed.dir().join("shared");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), "bound").unwrap();
        let bind = format!("{}:/bound", source.display());
        bed.run(&[
            "create",
            "--name",
            "one",
            "-v",
            &bind,
            "-v",
            "named:/named",
            "-v",
            "/anonymous",
            "--tmpfs",
            "/tmpfs",
            BUSYBOX,
        ])
        .ok();
        let script = "echo one > /named/f; echo two > /anonymous/f; cat /bound/file; ! mount | grep ' /tmpfs '";
        assert_eq!(bed.shell(&["--volumes-from", "one"], script).ok(), "bound");
        // The anonymous volume was not this one's to take away.
        let read = "cat /named/f /anonymous/f; touch /named/g || echo refused";
        let text = bed.shell(&["--volumes-from", "one:ro"], read).ok();
        assert_eq!(text, "one\ntwo\nrefused");
        // An own mount at the same place goes first.
        let own = ["--volumes-from", "one", "--tmpfs", "/bound"];
        bed.shell(&own, "test ! -e /bound/file && test -e /named/f")
            .ok();
        bed.run(&["run", "--rm", "--volumes-from", "nobody", BUSYBOX, "true"])
            .fails(125, &["no such container: nobody"]);
        bed.run(&["run", "--rm", "--volumes-from", "one:z:z", BUSYBOX, "true"])
            .fails(125, &["--volumes-from"]);
        bed.run(&["rm", "-v", "one"]).ok();
    });
}

#[test]
fn shared_memory_of_another_container() {
    bed!(|bed| {
        bed.start(&["--name", "one", "--ipc", "shareable"]);
        bed.start(&["--name", "two", "--ipc", "container:one"]);
        let run = |name: &str, script: &str| bed.run(&["exec", name, "sh", "-c", script]).ok();
        let link = "readlink /proc/self/ns/ipc";
        assert_eq!(run("one", link), run("two", link));
        assert_eq!(
            bed.inspect("two", "{{.HostConfig.IpcMode}}"),
            format!("container:{}", bed.inspect("one", "{{.Id}}"))
        );
        // Of System V, where nothing is shared but the namespace.
        let namespace = format!(
            "--ipc=/proc/{}/ns/ipc",
            bed.inspect("one", "{{.State.Pid}}")
        );
        bed.host("nsenter", &[&namespace, "ipcmk", "-M", "12345"])
            .ok();
        for name in ["one", "two"] {
            assert!(
                run(name, "cat /proc/sysvipc/shm").contains("12345"),
                "{name}"
            );
        }
        // Of POSIX: files, and queues.
        run("two", "echo shared > /dev/shm/file");
        assert_eq!(run("one", "cat /dev/shm/file"), "shared");
        run(
            "one",
            "echo back > /dev/shm/file; test -e /dev/mqueue && touch /dev/mqueue/q",
        );
        assert_eq!(run("two", "cat /dev/shm/file; ls /dev/mqueue"), "back\nq");
        // Nothing else of it is seen, and all of it again after a restart.
        assert_ne!(
            run("one", "readlink /proc/self/ns/mnt"),
            run("two", "readlink /proc/self/ns/mnt")
        );
        bed.run(&["restart", "-t", "0", "two"]).ok();
        assert_eq!(run("two", "cat /dev/shm/file"), "back");
        bed.run(&["suspend", "two"])
            .fails(1, &["its shared memory is another container's"]);
        // It can have both of another container's.
        let both = ["--ipc", "container:one", "--pid", "container:one"];
        let seen = bed.shell(&both, "cat /dev/shm/file; grep -c sleep /proc/1/cmdline");
        assert_eq!(seen.ok(), "back\n1");
        // What is not shared is not to be had, nor what does not run.
        bed.start(&["--name", "private"]);
        let join = |name: &str| {
            let ipc = format!("container:{name}");
            bed.run(&["run", "--rm", "--ipc", &ipc, BUSYBOX, "true"])
        };
        join("private").fails(
            125,
            &["keeps its shared memory to itself", "--ipc shareable"],
        );
        join("nobody").fails(125, &["no such container"]);
        bed.run(&["stop", "-t", "0", "one"]).ok();
        join("one").fails(125, &["whose shared memory is used, is not running"]);
    });
}

/// A container that shares its memory cannot show others what lies elsewhere.
#[test]
fn a_link_in_the_place_of_shared_memory() {
    bed!(|bed| {
        let privileged = ["--name", "one", "--ipc", "shareable", "--privileged"];
        bed.start(&privileged);
        let script = "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm";
        bed.run(&["exec", "one", "sh", "-c", script]).ok();
        let run = [
            "run",
            "--rm",
            "--ipc",
            "container:one",
            BUSYBOX,
            "ls",
            "/dev/shm",
        ];
        bed.run(&run).fails(125, &["/dev/shm"]);
    });
}
