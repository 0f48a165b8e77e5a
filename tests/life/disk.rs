//! system df and system prune: every byte is accounted for, and comes back.

use black_box_tests::{BUSYBOX, bed};
use serde_json::Value;

#[test]
fn df_accounts_for_images_containers_logs_and_volumes() {
    bed!(|bed| {
        let of = |kind: &str| -> Value {
            bed.run(&["system", "df", "--format", "json"])
                .ok()
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .find(|row| row["Type"] == kind)
                .unwrap()
        };
        assert_eq!(of("Containers")["TotalCount"], "0");
        assert_eq!(
            of("Images")["Reclaimable"],
            format!("{} (100%)", of("Images")["Size"].as_str().unwrap())
        );
        bed.run(&[
            "run", "--name", "job", "-v", "vol:/data", BUSYBOX, "sh", "-c",
            "dd if=/dev/zero of=/f bs=1M count=3 2>/dev/null; dd if=/dev/zero of=/data/f bs=1M count=2 2>/dev/null; \
             yes | head -c 1000000",
        ])
        .ok();
        bed.start(&["--name", "runs"]);
        let containers = of("Containers");
        assert_eq!(
            (&containers["TotalCount"], &containers["Active"]),
            (&"2".into(), &"1".into())
        );
        assert!(
            containers["Size"].as_str().unwrap().starts_with("3.1"),
            "{containers}"
        );
        assert!(
            containers["Reclaimable"]
                .as_str()
                .unwrap()
                .starts_with("3.1"),
            "{containers}"
        );
        assert!(
            of("Local Volumes")["Size"]
                .as_str()
                .unwrap()
                .starts_with("2.1")
        );
        assert!(of("Logs")["Size"].as_str().unwrap().contains("MB"));
        assert!(
            of("Images")["Reclaimable"]
                .as_str()
                .unwrap()
                .starts_with("0B")
        );
        let table = bed.run(&["system", "df"]).ok();
        assert!(
            table.starts_with("TYPE            TOTAL     ACTIVE    SIZE"),
            "{table}"
        );
        let all = bed.run(&["system", "df", "-v"]).ok();
        for part in ["Images space usage:", "UNIQUE SIZE", "job", "LINKS", "vol "] {
            assert!(all.contains(part), "{part} is missing:\n{all}");
        }
    });
}

#[test]
fn prune_gives_back_what_nothing_uses() {
    bed!(|bed| {
        bed.start(&["--name", "runs"]);
        bed.run(&[
            "run", "--name", "job", "-v", "/data", BUSYBOX, "touch", "/data/f", "/f",
        ])
        .ok();
        bed.run(&["commit", "job", "other"]).ok();
        bed.run(&["system", "prune"]).fails(1, &["-f"]);
        let text = bed.run(&["system", "prune", "-f"]).ok();
        assert!(text.contains("Deleted Containers:"), "{text}");
        assert!(
            !text.contains("Deleted Images:") && !text.contains("Deleted Volumes:"),
            "{text}"
        );
        let text = bed.run(&["system", "prune", "-a", "-f", "--volumes"]).ok();
        assert!(text.contains("untagged: other:latest"), "{text}");
        assert!(text.contains("Deleted Volumes:"), "{text}");
        assert_eq!(
            std::fs::read_dir(bed.root().join("volumes"))
                .unwrap()
                .count(),
            0
        );
        bed.run(&["rm", "-f", "runs"]).ok();
        bed.run(&["system", "prune", "-a", "-f"]).ok();
        // Everything that was removed is given back: no layer, no blob, no writable layer is left.
        let left: Vec<_> = ["content/blobs", "snapshots/active", "containers"]
            .iter()
            .flat_map(|part| {
                let path = bed.root().join(part);
                bed.host(
                    "find",
                    &[path.to_str().unwrap(), "-type", "f", "!", "-name", ".*"],
                )
                .text()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(bed.run(&["images", "-q"]).ok(), "");
    });
}
