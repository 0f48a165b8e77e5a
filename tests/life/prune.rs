//! container prune and image prune.

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
