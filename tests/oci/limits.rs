//! `update` and `events`.

use black_box_tests::{Bundle, bed, eventually};
use serde_json::{Value, json};

use super::sleeping;

fn stats(bundle: &Bundle<'_>) -> Value {
    bundle.runtime(&["events", "--stats", bundle.id()]).json()["data"].clone()
}

#[test]
fn limits_change_while_it_runs() {
    bed!(|bed| {
        let bundle = sleeping(bed);
        bundle
            .runtime(&[
                "update",
                "--memory",
                "33554432",
                "--pids-limit",
                "21",
                bundle.id(),
            ])
            .ok();
        let now = stats(&bundle);
        assert_eq!(now["memory"]["usage"]["limit"], 33_554_432);
        assert_eq!(now["pids"]["limit"], 21);
        let resources = json!({"pids": {"limit": 22}});
        bundle
            .command(&["update", "-r", "-", bundle.id()])
            .input(resources.to_string())
            .run()
            .ok();
        let file = bed.file(
            "resources.json",
            json!({"memory": {"limit": 50_331_648}}).to_string(),
        );
        bundle
            .runtime(&["update", "--resources", &file, bundle.id()])
            .ok();
        let now = stats(&bundle);
        assert_eq!(now["pids"]["limit"], 22);
        assert_eq!(now["memory"]["usage"]["limit"], 50_331_648);
        bundle
            .runtime(&["update", "--memory", "lots", bundle.id()])
            .fails(1, &["lots"]);
        bundle
            .runtime(&["update", "--memory", "4096", bundle.id()])
            .fails(1, &["memory"]);
        bundle.delete();
    });
}

#[test]
fn running_out_of_memory_is_an_event() {
    bed!(|bed| {
        let mut bundle = Bundle::shell(
            bed,
            "while [ ! -e /go ]; do sleep 0.05; done; a=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 1000",
        );
        bundle.set(
            "/linux/resources",
            json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}}),
        );
        super::start(&bundle);
        let events = bundle
            .command(&["events", "--interval", "1s", bundle.id()])
            .start();
        events.wait_for("\"stats\"");
        std::fs::write(bundle.root().join("go"), "").unwrap();
        eventually(20, "it to be killed", || {
            (bundle.status() == "stopped").then_some(())
        });
        std::thread::sleep(std::time::Duration::from_millis(500));
        bundle.delete();
        let told = events.finish().text();
        let kinds: Vec<Value> = told
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
            .collect();
        assert!(kinds.contains(&json!("stats")), "{told}");
        assert!(kinds.contains(&json!("oom")), "{told}");
    });
}
