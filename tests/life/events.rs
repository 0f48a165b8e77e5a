//! The record of events: complete, in order, filtered, followed.

use black_box_tests::{BUSYBOX, bed};
use serde_json::Value;

fn actions(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| line.split(' ').nth(2).unwrap_or("no action"))
        .collect()
}

#[test]
fn a_life_is_told_in_order() {
    bed!(|bed| {
        bed.run(&[
            "run",
            "--rm",
            "--name",
            "one",
            "-l",
            "tier=front",
            BUSYBOX,
            "sh",
            "-c",
            "exit 3",
        ])
        .code(3);
        bed.start(&["--name", "two"]);
        bed.run(&["pause", "two"]).ok();
        bed.run(&["unpause", "two"]).ok();
        bed.run(&["rename", "two", "three"]).ok();
        bed.run(&["update", "-m", "64m", "three"]).ok();
        bed.run(&["restart", "-t", "0", "three"]).ok();
        bed.run(&["stop", "-t", "0", "three"]).ok();
        bed.run(&["rm", "three"]).ok();
        let past = |filters: &[&str]| {
            let mut arguments = vec!["events", "--since", "1h", "--until", "0s"];
            for filter in filters {
                arguments.extend(["--filter", filter]);
            }
            bed.run(&arguments).ok()
        };
        let one = past(&["container=one"]);
        assert_eq!(
            actions(&one),
            ["create", "start", "die", "destroy"],
            "{one}"
        );
        let die = one.lines().nth(2).unwrap();
        for part in ["exitCode=3", "image=busybox", "name=one", "tier=front"] {
            assert!(die.contains(part), "{part} is missing: {die}");
        }
        assert_eq!(actions(&past(&["label=tier=front", "event=die"])), ["die"]);
        let all = past(&["type=container"]);
        let two: Vec<&str> = actions(&all).split_off(4);
        assert_eq!(
            two,
            [
                "create", "start", "pause", "unpause", "rename", "update", "kill", "die", "stop",
                "start", "restart", "kill", "die", "stop", "destroy"
            ],
            "{all}"
        );
        assert!(past(&["event=rename"]).contains("name=three, oldName=two"));
        // A monitor does not know of the new name, and yet it is told.
        assert!(past(&["event=die", "container=three"]).contains("name=three"));
        let json: Value = serde_json::from_str(
            &bed.run(&[
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "--filter",
                "event=rename",
                "--format",
                "json",
            ])
            .ok(),
        )
        .unwrap();
        assert_eq!(json["Type"], "container");
        assert_eq!(json["Actor"]["Attributes"]["oldName"], "two");
        assert_eq!(
            past(&["type=image"]).lines().count(),
            1,
            "the image was loaded"
        );
        bed.run(&["events", "--filter", "nonsense=1"])
            .fails(1, &["nonsense"]);
        bed.run(&["events", "--since", "yesterday"])
            .fails(1, &["yesterday"]);
    });
}

#[test]
fn events_are_followed_as_they_come() {
    bed!(|bed| {
        bed.run(&["run", "--rm", "--name", "before", BUSYBOX, "true"])
            .ok();
        let events = bed
            .command(&[
                "events",
                "--format",
                "{{.Action}} {{.Actor.Attributes.name}}",
            ])
            .start();
        // Nothing of the past is told, so something has to happen until it listens.
        black_box_tests::eventually(30, "an event", || {
            bed.run(&["create", "--rm", "--name", "now", BUSYBOX]).ok();
            bed.run(&["rm", "now"]).ok();
            events.stdout_so_far().contains("destroy now").then_some(())
        });
        bed.run(&["run", "--rm", "--name", "after", BUSYBOX, "true"])
            .ok();
        events.wait_for("destroy after");
        assert!(
            !events.stdout_so_far().contains("before"),
            "{}",
            events.stdout_so_far()
        );
        events.signal(rustix::process::Signal::INT);
        events.finish();
    });
}
