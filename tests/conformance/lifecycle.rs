//! runtime.md: operations, states, and what an error leaves behind.

use black_box_tests::{Bundle, bed};
use serde_json::json;

#[test]
fn from_created_to_deleted() {
    bed!(|bed| {
        let mark = bed.dir().join("mark");
        let mut bundle = Bundle::new(bed, &["sh", "-c", "echo ran >/data/mark; sleep 100"]);
        bundle.mount("/data", "bind", bed.dir().to_str().unwrap(), &["bind"]);
        bundle.set("/annotations", json!({"one": "two"}));
        bundle.create().ok();
        let state = bundle.runtime(&["state", bundle.id()]).json();
        assert_eq!(state["status"], "created");
        assert_eq!(state["ociVersion"], "1.3.0");
        assert_eq!(state["id"], bundle.id());
        assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
        assert_eq!(state["annotations"], json!({"one": "two"}));
        assert!(state["pid"].as_i64().unwrap() > 0);
        assert!(!mark.exists(), "the program runs before its start");
        // An id is there once.
        bundle.create().fails(1, &["exists"]);
        // What is changed after create has no effect.
        bundle.set("/process/args", json!(["false"]));
        bundle.runtime(&["start", bundle.id()]).ok();
        black_box_tests::eventually(10, "the program", || mark.exists().then_some(()));
        assert_eq!(bundle.status(), "running");
        bundle
            .runtime(&["start", bundle.id()])
            .fails(1, &[bundle.id()]);
        bundle
            .runtime(&["delete", bundle.id()])
            .fails(1, &["running"]);
        bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
        bundle.wait_stopped();
        assert!(
            bundle.runtime(&["state", bundle.id()]).json()["pid"]
                .as_i64()
                .unwrap_or(0)
                == 0
        );
        bundle
            .runtime(&["kill", bundle.id(), "KILL"])
            .fails(1, &["not running"]);
        bundle
            .runtime(&["start", bundle.id()])
            .fails(1, &[bundle.id()]);
        bundle.runtime(&["delete", bundle.id()]).ok();
        for operation in ["state", "start", "delete"] {
            bundle
                .runtime(&[operation, bundle.id()])
                .fails(1, &["not exist"]);
        }
        // The id is free again.
        bundle.set("/process/args", json!(["true"]));
        bundle.output();
    });
}

#[test]
fn masks_read_only_paths_and_the_root() {
    bed!(|bed| {
        let script = "exec 2>&1; cat /etc/masked; ls /tmp/hidden; echo x >/proc/sys/kernel/hostname; echo x >/file; \
                      echo x >/dev/shm/x; echo end";
        let mut bundle = Bundle::shell(bed, script);
        std::fs::write(bundle.root().join("etc/masked"), "secret").unwrap();
        std::fs::create_dir(bundle.root().join("tmp/hidden")).unwrap();
        std::fs::write(bundle.root().join("tmp/hidden/secret"), "").unwrap();
        bundle.mount("/dev/shm", "tmpfs", "shm", &[]);
        bundle.set(
            "/linux/maskedPaths",
            json!(["/etc/masked", "/tmp/hidden", "/not/there"]),
        );
        bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/not/there"]));
        bundle.set("/root/readonly", json!(true));
        let seen = bundle.output();
        assert!(!seen.contains("secret"), "{seen}");
        assert_eq!(seen.matches("Read-only file system").count(), 2, "{seen}");
        bundle.set("/linux/maskedPaths", json!(["/etc/../masked"]));
        bundle.is_refused(&["linux.maskedPaths", ".."]);
    });
}
