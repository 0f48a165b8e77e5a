//! system storage: a store on a file system of its own.

use black_box_tests::{BUSYBOX, Bed, bed, binary, eventually};

#[test]
fn a_store_on_an_xfs_in_a_file() {
    bed!(|bed| {
        // The host's table of file systems is not for a test to change.
        let path = |name: &str| bed.dir().join(name).to_str().unwrap().to_owned();
        for name in ["upper", "work"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let layers = format!(
            "lowerdir=/etc,upperdir={},workdir={}",
            path("upper"),
            path("work")
        );
        bed.host(
            "mount",
            &["-t", "overlay", "-o", &layers, "overlay", "/etc"],
        )
        .ok();
        let wharf = binary("wharf");
        let (root, runroot) = (path("store"), path("run"));
        let other = |words: &[&str]| {
            let words = [&["--root", &root, "--runroot", &runroot], words].concat();
            bed.host(wharf.to_str().unwrap(), &words)
        };
        other(&["system", "storage", "--size", "1m"]).fails(1, &["300 MB"]);
        let script = other(&["system", "storage", "--size", "400m", "--print"]).ok();
        assert!(
            script.contains(&format!("mkfs.xfs -q {root}.xfs\n")),
            "{script}"
        );
        assert!(!std::path::Path::new(&format!("{root}.xfs")).exists());
        other(&["system", "storage", "--size", "400m"]).ok();
        let table = std::fs::read_to_string("/etc/fstab").unwrap();
        let line = format!("{root}.xfs {root} xfs loop,nofail 0 0\n");
        assert!(table.ends_with(&line), "{table}");
        assert_eq!(other(&["info", "-f", "{{len .Warnings}}"]).ok(), "0");
        let said = other(&["system", "storage"]).ok();
        assert_eq!(said, format!("{root} has reflinks already"));
        // It is a store, also after it was mounted by what was written.
        let archive = path("busybox.tar");
        other(&["load", "-q", "-i", &archive]).ok();
        unmount(bed, &root);
        bed.host("mount", &[&root]).ok();
        let run = ["run", "--rm", "--network", "none", BUSYBOX, "echo", "there"];
        assert_eq!(other(&run).ok(), "there");
        unmount(bed, &root);
        std::fs::remove_file(format!("{root}.xfs")).unwrap();
        bed.host("umount", &["/etc"]).ok();
    });
}

/// The kernel takes its time for what a container had of it.
fn unmount(bed: &Bed, root: &str) {
    eventually(10, "nobody to use it", || {
        bed.host("umount", &[root]).status.success().then_some(())
    });
}

#[test]
fn a_store_that_is_in_use_is_not_hidden() {
    bed!(|bed| {
        let outcome = bed.run(&["system", "storage"]);
        outcome.fails(1, &["is in use", "wharf system reset"]);
        assert!(!bed.root().with_extension("xfs").exists());
    });
}
