//! A command that runs in each clone before it goes on.

use black_box_tests::bed;

use crate::{count, counter, counts_on, inside, templates};

#[test]
fn it_runs_before_anything_moves() {
    bed!(|bed| {
        counter(bed, "one", &["-e", "A=b"]);
        let before = count(bed, "one");
        let hook = "echo $WHARF_CLONE $WHARF_CLONE_NUMBER $A $(hostname) > /hook; sleep 0.3; cat /proc/1/stat > /stat";
        let ids = bed
            .run(&["clone", "--name-prefix", "c", "--hook", hook, "one", "2"])
            .ok();
        for (number, id) in ids.lines().enumerate() {
            let name = &format!("c-{}", number + 1);
            let said = inside(bed, name, "cat /hook");
            assert_eq!(said, format!("{name} {} b {}", number + 1, &id[..12]));
            counts_on(bed, name);
            // Process 1 stood while the hook ran: t is a stop by whoever restored it.
            let stat = inside(bed, name, "cut -d' ' -f3 /stat");
            assert!(["t", "T"].contains(&stat.as_str()), "{stat}");
            assert!(count(bed, name) > before);
        }
    });
}

#[test]
fn if_it_fails_there_is_no_clone() {
    bed!(|bed| {
        counter(bed, "one", &["-v", "/data"]);
        bed.run(&[
            "clone",
            "--name",
            "two",
            "--hook",
            "echo no such table >&2; exit 3",
            "one",
        ])
        .fails(125, &["hook in two: it ended with 3: no such table"]);
        bed.run(&[
            "clone",
            "--name-prefix",
            "c",
            "--hook",
            "test $WHARF_CLONE_NUMBER != 2",
            "one",
            "3",
        ])
        .fails(125, &["hook in c-2: it ended with 1"]);
        assert_eq!(bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "one");
        assert_eq!(templates(bed), 0);
        assert_eq!(bed.run(&["volume", "ls", "-q"]).ok().lines().count(), 1);
        counts_on(bed, "one");
        bed.run(&["rm", "-f", "-v", "one"]).ok();
    });
}
