//! container prune, image prune, system reset.

use black_box_tests::{BUSYBOX, bed};

#[test]
fn containers_that_do_not_run() {
    bed!(|bed| {
        bed.start(&["--name", "runs"]);
        bed.run(&[
            "run",
            "--name",
            "done",
            BUSYBOX,
            "sh",
            "-c",
            "dd if=/dev/zero of=/f bs=1M count=1 2>&1",
        ])
        .ok();
        bed.run(&["create", "--name", "new", "-l", "keep=1", BUSYBOX])
            .ok();
        // Nobody can be asked here.
        bed.run(&["container", "prune"]).fails(1, &["-f"]);
        bed.run(&["container", "prune", "-f", "--filter", "nonsense=1"])
            .fails(1, &["nonsense"]);
        let none = bed
            .run(&["container", "prune", "-f", "--filter", "until=1h"])
            .ok();
        assert_eq!(none, "Total reclaimed space: 0B");
        let id = bed.inspect("done", "{{.Id}}");
        let text = bed
            .run(&["container", "prune", "-f", "--filter", "label!=keep"])
            .ok();
        assert!(
            text.starts_with(&format!("Deleted Containers:\n{id}\n\n")),
            "{text}"
        );
        // One file of 1 MiB, and a directory or two.
        let size = text.rsplit_once("Total reclaimed space: ").unwrap().1;
        let megabytes: f64 = size.strip_suffix("MB").unwrap().parse().unwrap();
        assert!((1.04..1.1).contains(&megabytes), "{text}");
        bed.run(&["container", "prune", "-f", "--filter", "label=keep=1"])
            .ok();
        assert_eq!(
            bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok(),
            "runs"
        );
    });
}

#[test]
fn images_that_nothing_uses() {
    bed!(|bed| {
        bed.start(&["--name", "one"]);
        bed.run(&["exec", "one", "touch", "/a"]).ok();
        let bare = bed.run(&["commit", "--pause=false", "one"]).ok();
        let young = bed.run(&["image", "prune", "-f", "--filter", "until=1h"]);
        assert_eq!(young.ok(), "Total reclaimed space: 0B");
        bed.run(&["exec", "one", "touch", "/b"]).ok();
        bed.run(&["commit", "one", "named:v1"]).ok();
        let text = bed.run(&["image", "prune", "-f"]).ok();
        assert!(text.contains(&format!("deleted: {bare}\n")), "{text}");
        assert!(!text.contains("named"), "{text}");
        let text = bed.run(&["image", "prune", "-a", "-f"]).ok();
        assert!(text.contains("untagged: named:v1\n"), "{text}");
        assert!(text.contains("Total reclaimed space: "), "{text}");
        // A container needs it.
        assert_eq!(
            bed.run(&["images", "--format", "{{.Repository}}"]).ok(),
            BUSYBOX
        );
    });
}

#[test]
fn a_reset_leaves_nothing() {
    bed!(|bed| {
        bed.run(&["network", "create", "net"]).ok();
        bed.start(&[
            "--name",
            "runs",
            "-p",
            "127.0.0.1:7010:1",
            "-v",
            "named:/a",
            "-v",
            "/b",
        ]);
        bed.start(&["--name", "other", "--network", "net"]);
        bed.run(&["suspend", "other"]).ok();
        bed.run(&["create", "--name", "new", BUSYBOX]).ok();
        bed.run(&["checkpoint", "--leave-running", "runs", "point"])
            .ok();
        bed.run(&["clone", "--keep-template=warm", "--name", "copy", "runs"])
            .ok();
        bed.run(&["tag", BUSYBOX, "second"]).ok();
        // Nobody can be asked here, and nothing happens unasked.
        bed.run(&["system", "reset"]).fails(1, &["-f"]);
        assert_eq!(bed.run(&["ps", "-aq"]).ok().lines().count(), 4);
        assert_eq!(
            bed.run(&["system", "reset", "-f"]).ok(),
            "removed 4 containers\nremoved 1 checkpoint\nremoved 1 template\nremoved 1 network\nremoved 1 volume\nremoved 1 image"
        );
        bed.nothing_runs();
        for verbs in [
            ["ps", "-aq"],
            ["images", "-q"],
            ["volume", "-q"],
            ["checkpoint", "-q"],
            ["template", "-q"],
        ] {
            let words = match verbs {
                [noun, "-q"] if noun != "images" => vec![noun, "ls", "-q"],
                words => words.to_vec(),
            };
            assert_eq!(bed.run(&words).ok(), "", "{words:?}");
        }
        let links = bed.host("ip", &["-o", "link"]).ok();
        assert!(!links.contains("wh"), "{links}");
        assert_eq!(bed.host("nft", &["list", "tables"]).ok(), "");
        assert_eq!(
            bed.run(&["system", "reset", "-f"]).ok(),
            "there was nothing"
        );
        // It is a store like a new one.
        let archive = bed.dir().join("busybox.tar");
        bed.run(&["load", "-q", "-i", archive.to_str().unwrap()])
            .ok();
        bed.run(&["run", "--rm", BUSYBOX, "true"]).ok();
    });
}
