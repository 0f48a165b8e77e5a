//! The annotation `org.wharf.landlock`, our extension.

use black_box_tests::{Bundle, bed};
use serde_json::json;

#[test]
fn files_and_ports_are_given_up() {
    bed!(|bed| {
        let active = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        let script = "cat /etc/secret; cat /tmp/open; echo x >/tmp/new; echo x >/etc/new; \
                      nc -l -p 81 -e true; echo end";
        let mut bundle = Bundle::shell(bed, &format!("exec 2>&1; {script}"));
        std::os::unix::fs::symlink("busybox", bundle.root().join("bin/nc")).unwrap();
        std::fs::write(bundle.root().join("etc/secret"), "secret\n").unwrap();
        std::fs::write(bundle.root().join("tmp/open"), "open\n").unwrap();
        let rules = json!({"read": ["/proc"], "write": ["/tmp", "/dev"], "execute": ["/bin"], "bind": [80]});
        bundle.set(
            "/annotations",
            json!({"org.wharf.landlock": rules.to_string()}),
        );
        let outcome = bundle.run();
        if !outcome.status.success() {
            // Without Landlock it is refused, and says what is lacking.
            assert!(!active.contains("landlock"), "{}", outcome.story());
            outcome.fails(1, &["annotations.org.wharf.landlock", "Landlock"]);
            return;
        }
        let text = outcome.ok();
        assert!(text.contains("open\n") && text.ends_with("end"), "{text}");
        assert!(!text.contains("secret\n"), "{text}");
        // The secret, the new file, the port.
        assert_eq!(
            text.to_lowercase().matches("permission denied").count(),
            3,
            "{text}"
        );
        // A process that joins is restricted as well.
        bundle.set("/process/args", json!(["sleep", "100"]));
        bundle.create().ok();
        bundle.runtime(&["start", bundle.id()]).ok();
        let joined = bundle.runtime(&["exec", bundle.id(), "cat", "/etc/secret"]);
        joined.fails(1, &["permission denied"]);
        bundle.delete();
    });
}

#[test]
fn mistakes_in_the_annotation_are_named() {
    bed!(|bed| {
        for (rules, part) in [
            ("", "EOF"),
            (r#"{"reed": ["/"]}"#, "reed"),
            (r#"{"read": ["etc"]}"#, "absolute"),
            (r#"{"bind": [70000]}"#, "70000"),
        ] {
            let mut bundle = Bundle::new(bed, &["true"]);
            bundle.set("/annotations", json!({"org.wharf.landlock": rules}));
            bundle.is_refused(&["annotations.org.wharf.landlock", part]);
        }
    });
}
