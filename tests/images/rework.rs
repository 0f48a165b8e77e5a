//! `images --tree`, `image diff`, `explore`, `squash` and `rebase`.

use black_box_tests::{BUSYBOX, Bed, bed};

/// An image of `from` and what a script does.
fn build(bed: &Bed, from: &str, script: &str, name: &str) -> String {
    bed.run(&["run", "--name", "builder", from, "sh", "-c", script])
        .ok();
    bed.run(&["commit", "-c", "CMD [\"cat\",\"/says\"]", "builder", name])
        .ok();
    bed.run(&["rm", "builder"]).ok();
    bed.inspect(name, "{{.Id}}")
}

#[test]
fn who_stands_on_whom() {
    bed!(|bed| {
        build(bed, BUSYBOX, "echo 1 > /a", "base:1");
        build(
            bed,
            "base:1",
            "dd if=/dev/zero of=/big bs=1M count=2 2>/dev/null",
            "app:1",
        );
        build(bed, "base:1", "echo 2 > /b", "app:2");
        let tree = bed.run(&["images", "--tree"]).ok();
        // The name with what is drawn in front of it: all before the id.
        let shape: Vec<&str> = tree
            .lines()
            .map(|line| {
                let name =
                    line.trim_start().find("  ").unwrap() + line.len() - line.trim_start().len();
                &line[..name]
            })
            .collect();
        assert_eq!(
            shape,
            [
                "IMAGE",
                "busybox:latest",
                "└─ base:1",
                "   ├─ app:1",
                "   └─ app:2"
            ],
            "{tree}"
        );
        let own = |name: &str| {
            tree.lines()
                .find(|line| line.contains(name))
                .unwrap()
                .split_whitespace()
                .last()
                .unwrap()
                .to_owned()
        };
        assert!(own("app:1").starts_with("2.1"), "{tree}");
        let family = bed.run(&["image", "tree", "app:2"]).ok();
        assert!(
            family.contains("base:1") && family.contains("app:2") && !family.contains("app:1"),
            "{family}"
        );
        bed.run(&["image", "tree", "nothing"])
            .fails(1, &["no such image"]);
    });
}

#[test]
fn in_what_they_differ() {
    bed!(|bed| {
        build(
            bed,
            BUSYBOX,
            "mkdir /d; echo 1 > /d/same; echo 1 > /d/a; echo 1 > /d/b",
            "one",
        );
        build(bed, "one", "echo 2 > /d/a; rm /d/b; echo 1 > /d/c", "two");
        let diff = |from: &str, to: &str| {
            let text = bed.run(&["image", "diff", from, to]).ok();
            let lines: Vec<&str> = text.lines().filter(|line| line.contains("/d/")).collect();
            lines.join(" ")
        };
        assert_eq!(diff("one", "two"), "C /d/a D /d/b A /d/c");
        assert_eq!(diff("two", "one"), "C /d/a A /d/b D /d/c");
        assert_eq!(bed.run(&["image", "diff", "two", "two"]).ok(), "");
    });
}

#[test]
fn what_each_layer_added() {
    bed!(|bed| {
        build(
            bed,
            BUSYBOX,
            "mkdir /d; dd if=/dev/zero of=/d/big bs=1M count=1 2>/dev/null; echo 1 > /d/small; rm /bin/vi",
            "one",
        );
        let text = bed.run(&["image", "explore", "one"]).ok();
        let second: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with(" 2  "))
            .collect();
        assert!(
            second[0].contains("  +3 ") && second[0].contains(" -1 "),
            "{text}"
        );
        assert!(second[1].ends_with("+   1.05MB  /d/big"), "{text}");
        assert!(second[2].ends_with("+       2B  /d/small"), "{text}");
        assert_eq!(second.len(), 3, "{text}");
        let all = bed
            .run(&["image", "explore", "--files", "--layer", "2", "one"])
            .ok();
        assert!(
            all.starts_with(" 2  ")
                && all
                    .lines()
                    .any(|line| line.ends_with("/bin/vi") && line.contains(" - ")),
            "{all}"
        );
        bed.run(&["image", "explore", "--layer", "3", "one"])
            .fails(1, &["layers 1 to 2"]);
    });
}

#[test]
fn one_layer_of_all() {
    bed!(|bed| {
        build(
            bed,
            BUSYBOX,
            "dd if=/dev/zero of=/big bs=1M count=5 2>/dev/null; ln /bin/cat /bin/cat2; echo squashed > /says",
            "one",
        );
        build(
            bed,
            "one",
            "rm /big; chmod 700 /root; ln -s /says /link",
            "two",
        );
        let id = bed
            .run(&["image", "squash", "-m", "mine", "two", "flat:1"])
            .ok();
        assert_eq!(bed.inspect("flat:1", "{{.Id}}"), id);
        assert_eq!(
            bed.inspect(
                "flat:1",
                "{{len .RootFS.Layers}} {{json .Config.Cmd}} {{.Comment}}"
            ),
            r#"1 ["cat","/says"] mine"#
        );
        assert_eq!(bed.run(&["run", "--rm", "flat:1"]).ok(), "squashed");
        let script = "test ! -e /big; stat -c %a /root; readlink /link; stat -c %h /bin/cat2";
        let both = [
            bed.run(&["run", "--rm", "two", "sh", "-c", script]).ok(),
            bed.run(&["run", "--rm", "flat:1", "sh", "-c", script]).ok(),
        ];
        assert_eq!(
            both[0].lines().take(2).collect::<Vec<_>>(),
            ["700", "/says"]
        );
        assert_eq!(both[0], both[1]);
        // The same files: nothing differs but what a merge makes of times.
        let diff = bed.run(&["image", "diff", "two", "flat:1"]).ok();
        assert!(!diff.lines().any(|line| line.starts_with('D')), "{diff}");
        let sizes = |name: &str| bed.inspect(name, "{{.Size}}").parse::<u64>().unwrap();
        assert!(sizes("flat:1") + (5 << 20) <= sizes("two"));
    });
}

#[test]
fn on_another_base() {
    bed!(|bed| {
        build(bed, BUSYBOX, "echo old > /base", "base:1");
        build(
            bed,
            BUSYBOX,
            "echo new > /base; echo more > /more",
            "base:2",
        );
        build(bed, "base:1", "echo app > /says", "app:1");
        let steps = |name: &str| bed.run(&["history", "-q", name]).ok().lines().count();
        let id = bed
            .run(&["image", "rebase", "app:1", "--onto", "base:2", "app:2"])
            .ok();
        assert_eq!(bed.inspect("app:2", "{{.Id}}"), id);
        assert_eq!(
            bed.run(&["run", "--rm", "app:2", "cat", "/base", "/more", "/says"])
                .ok(),
            "new\nmore\napp"
        );
        assert_eq!(bed.run(&["run", "--rm", "app:2"]).ok(), "app");
        assert_eq!(steps("app:2"), steps("app:1"));
        // The base that is not here is named.
        bed.run(&[
            "image", "rebase", "app:1", "--from", BUSYBOX, "--onto", "base:2", "app:3",
        ])
        .ok();
        assert_eq!(
            bed.run(&["run", "--rm", "app:3", "cat", "/base", "/more"])
                .ok(),
            "old\nmore"
        );
        bed.run(&[
            "image", "rebase", "app:1", "--from", "base:2", "--onto", BUSYBOX,
        ])
        .fails(1, &["is no base of app:1"]);
        bed.run(&["image", "rebase", BUSYBOX, "--onto", "base:2"])
            .fails(1, &["--from"]);
        bed.run(&["image", "rebase", "app:1"]).fails(1, &["--onto"]);
    });
}
