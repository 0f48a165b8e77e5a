//! `images`, `tag` and `rmi`.

use black_box_tests::{BUSYBOX, ImageBuilder, Tar, bed};

#[test]
fn listing() {
    bed!(|bed| {
        let table = bed.run(&["images"]).ok();
        assert_eq!(
            table
                .lines()
                .next()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            "REPOSITORY TAG IMAGE ID CREATED SIZE"
        );
        assert!(
            table.lines().nth(1).unwrap().starts_with("busybox "),
            "{table}"
        );
        let id = bed.inspect(BUSYBOX, "{{.Id}}");
        assert_eq!(bed.run(&["images", "-q", "--no-trunc"]).ok(), id);
        assert_eq!(bed.run(&["images", "-q"]).ok(), id[7..19]);
        assert_eq!(
            bed.run(&["image", "inspect", "-f", "{{.Id}}", BUSYBOX])
                .ok(),
            id
        );
        assert_eq!(
            bed.run(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"])
                .ok(),
            format!("busybox:latest {}", &id[7..19])
        );
        bed.run(&["tag", BUSYBOX, "127.0.0.1:5000/team/app:1.0"])
            .ok();
        assert_eq!(bed.run(&["images"]).ok().lines().count(), 3);
        assert_eq!(
            bed.run(&["images", "127.0.0.1:5000/team/app", "--format", "{{.Tag}}"])
                .ok(),
            "1.0"
        );
        assert_eq!(
            bed.run(&["images", "--filter", "reference=busy*", "-q"])
                .ok()
                .lines()
                .count(),
            1
        );
        // It was made with a date long ago.
        let until = |time: &str| {
            bed.run(&["images", "-q", "--filter", &format!("until={time}")])
                .ok()
        };
        assert_eq!(until("1h").lines().count(), 2);
        assert_eq!(until("1970-01-01"), "");
        assert_eq!(
            bed.run(&["images", "--format", "json"])
                .ok()
                .lines()
                .count(),
            2
        );
    });
}

#[test]
fn tag_and_remove() {
    bed!(|bed| {
        bed.run(&["tag", BUSYBOX, "copy"]).ok();
        bed.run(&["tag", "copy", "copy:two"]).ok();
        let said = bed.run(&["rmi", "copy:two"]).ok();
        assert_eq!(said, "Untagged: copy:two");
        bed.run(&["rmi", "copy"]).ok();
        let said = bed.run(&["rmi", BUSYBOX]).ok();
        assert!(
            said.contains("Untagged: busybox:latest") && said.contains("Deleted: sha256:"),
            "{said}"
        );
        assert_eq!(bed.run(&["images", "-aq"]).ok(), "");
        bed.run(&["rmi", BUSYBOX])
            .fails(1, &["no such image", "busybox"]);
        bed.run(&["tag", "nothing", "x"])
            .fails(1, &["no such image", "nothing"]);
        for kind in ["content/blobs", "snapshots"] {
            let found = bed.host(
                "find",
                &[
                    bed.root().join(kind).to_str().unwrap(),
                    "-type",
                    "f",
                    "-size",
                    "+0",
                ],
            );
            assert_eq!(found.ok(), "", "{kind}");
        }
    });
}

#[test]
fn an_image_in_use_stays() {
    bed!(|bed| {
        bed.start(&["--name", "user"]);
        bed.run(&["rmi", BUSYBOX]).fails(1, &["used by"]);
        bed.run(&["stop", "-t", "0", "user"]).ok();
        bed.run(&["rmi", BUSYBOX]).fails(1, &["used by", "busybox"]);
        bed.run(&["rm", "user"]).ok();
        bed.run(&["rmi", BUSYBOX]).ok();
    });
}

#[test]
fn an_id_with_several_names_needs_force() {
    bed!(|bed| {
        let id = bed.inspect(BUSYBOX, "{{.Id}}");
        bed.run(&["tag", BUSYBOX, "second"]).ok();
        bed.run(&["rmi", &id[7..19]]).fails(1, &["several names"]);
        bed.run(&["rmi", "-f", &id[7..19]]).ok();
        assert_eq!(bed.run(&["images", "-aq"]).ok(), "");
    });
}

#[test]
fn a_name_that_moves_leaves_a_nameless_image() {
    bed!(|bed| {
        let other = bed.file(
            "other.tar",
            ImageBuilder::busybox()
                .tar(Tar::new().file("other", 0o644, ""))
                .docker_archive("busybox:latest"),
        );
        bed.run(&["load", "-i", &other]).ok();
        assert_eq!(
            bed.run(&[
                "images",
                "--filter",
                "dangling=true",
                "--format",
                "{{.Repository}}:{{.Tag}}"
            ])
            .ok(),
            "<none>:<none>"
        );
        let dangling = bed.run(&["images", "-q", "--filter", "dangling=true"]).ok();
        bed.run(&["rmi", &dangling]).ok();
        bed.run(&["run", "--rm", BUSYBOX, "ls", "/other"]).ok();
    });
}
