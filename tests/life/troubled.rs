//! File systems that are short of something.

use black_box_tests::{BUSYBOX, Store, bed};

#[test]
fn no_inode_is_left() {
    bed!(|bed| {
        let store = Store::on(bed, "200M", &["mkfs.ext4", "-q", "-N", "600"]);
        store.load_busybox().ok();
        let create =
            |name: &str| store.run(&["create", "--name", name, "--network", "none", BUSYBOX]);
        let mut made = 0;
        let failed = loop {
            let outcome = create(&format!("c-{made}"));
            if !outcome.status.success() {
                break outcome;
            }
            made += 1;
            assert!(made < 600, "there are inodes without end");
        };
        assert!(made > 5, "{made}: {}", failed.error());
        failed.fails(125, &["no space left on device"]);
        let count = || store.run(&["ps", "-aq"]).ok().lines().count();
        assert_eq!(count(), made);
        // What there is can be used, and what goes makes room.
        store.run(&["inspect", "c-0"]).ok();
        store.run(&["rm", "c-0", "c-1", "c-2"]).ok();
        store.run(&["system", "check"]).ok();
        create("again").ok();
        let run = ["run", "--rm", "--network", "none", BUSYBOX, "echo", "room"];
        assert_eq!(store.run(&run).ok(), "room");
        assert_eq!(count(), made - 2);
        store.remove();
    });
}

#[test]
fn a_store_that_is_read_only_can_be_read() {
    bed!(|bed| {
        let store = Store::on(bed, "200M", &["mkfs.ext4", "-q"]);
        store.load_busybox().ok();
        let run = ["run", "--name", "done", BUSYBOX, "echo", "said"];
        store.run(&run).ok();
        store.remount("ro");
        let names = ["ps", "-a", "--format", "{{.Names}} {{.State}}"];
        assert_eq!(store.run(&names).ok(), "done exited");
        assert_eq!(store.run(&["logs", "done"]).ok(), "said");
        assert_eq!(
            store
                .run(&["inspect", "-f", "{{.State.ExitCode}}", "done"])
                .ok(),
            "0"
        );
        let images = store.run(&["images", "--format", "{{.Repository}}"]);
        assert_eq!(images.ok(), BUSYBOX);
        for words in [
            &["system", "df"][..],
            &["info"],
            &["volume", "ls"],
            &["network", "ls"],
        ] {
            store.run(words).ok();
        }
        let run = ["run", "--rm", "--network", "none", BUSYBOX, "true"];
        store.run(&run).fails(125, &["read-only file system"]);
        for words in [
            &["start", "done"][..],
            &["rm", "done"],
            &["volume", "create", "vol"],
        ] {
            store.run(words).fails(1, &["read-only file system"]);
        }
        store.remount("rw");
        assert_eq!(store.run(&names).ok(), "done exited");
        store.run(&["rm", "done"]).ok();
        store.remove();
    });
}
