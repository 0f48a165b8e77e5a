//! `list`, `ps` and `state`.

use black_box_tests::{Bundle, bed};

use super::sleeping;

#[test]
fn containers_and_their_processes() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        let created = Bundle::new(bed, &["true"]);
        created.create().ok();
        assert_eq!(
            bundle.runtime(&["list", "-q"]).ok(),
            format!("{}\n{}", bundle.id(), created.id())
        );
        let table = bundle.runtime(&["list"]).ok();
        let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(
            header,
            ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
        );
        let all = bundle.runtime(&["list", "--format", "json"]).json();
        let statuses: Vec<&str> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["status"].as_str().unwrap())
            .collect();
        assert_eq!(statuses, ["running", "created"]);
        let state = bundle.runtime(&["state", bundle.id()]).json();
        let pids = bundle
            .runtime(&["ps", "--format", "json", bundle.id()])
            .json();
        assert_eq!(pids, serde_json::json!([state["pid"]]));
        let table = bundle.runtime(&["ps", bundle.id()]).ok();
        assert!(table.lines().next().unwrap().contains("PID"), "{table}");
        assert!(table.contains("sleep 1000"), "{table}");
        bundle
            .runtime(&["start", bundle.id()])
            .fails(1, &["running already"]);
        created.runtime(&["delete", created.id()]).ok();
        bundle
            .runtime(&["delete", bundle.id()])
            .fails(1, &["running"]);
        bundle.delete();
        bundle
            .runtime(&["delete", bundle.id()])
            .fails(1, &["not exist"]);
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
        assert_eq!(bundle.runtime(&["list", "-q"]).ok(), "");
    });
}
