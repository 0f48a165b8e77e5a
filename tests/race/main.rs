//! Ten command lines at once on the same few names, and a model that looks for an order in which all that they said
//! can be true (linearizability, by the search of Wing and Gong).
//!
//! A slice of it runs in CI; `WHARF_RACE_ROUNDS=200` runs it for minutes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::HashSet;
use std::time::Instant;

use black_box_tests::{BUSYBOX, Bed, bed};

/// No hexadecimal digits: these would be beginnings of ids, too.
const NAMES: [&str; 3] = ["x", "y", "z"];
const CLIENTS: u64 = 10;
/// Of each client in a round. All of one name's have to fit into a mask of 128 bits.
const STEPS: u64 = 10;

/// What an act said about whether the name has a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It was made: there was none before.
    Made,
    /// It was taken away: there was one before.
    Removed,
    /// There is one.
    Present,
    /// There is none.
    Absent,
    /// Nothing that can be relied on.
    Nothing,
}

#[derive(Clone, Debug)]
struct Act {
    words: String,
    began: Instant,
    ended: Instant,
    said: Said,
    /// What it printed on its standard error.
    why: String,
}

/// The same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn act(bed: &Bed, verb: u64, name: &str) -> Act {
    let words: Vec<&str> = match verb {
        0 | 1 => vec![
            "create",
            "--name",
            name,
            "--network",
            "none",
            BUSYBOX,
            "sleep",
            "1000",
        ],
        2 => vec![
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            BUSYBOX,
            "sleep",
            "1000",
        ],
        3 => vec!["rm", "-f", name],
        4 => vec!["rm", name],
        5 => vec!["start", name],
        6 => vec!["stop", "-t", "0", name],
        7 => vec!["update", "--pids-limit", "50", name],
        _ => vec!["container", "inspect", name],
    };
    let began = Instant::now();
    let outcome = bed.run(&words);
    let ended = Instant::now();
    let error = outcome.error();
    assert!(!error.contains("panicked"), "{}", outcome.story());
    let missing = error.to_lowercase().contains("no such container");
    let said = match (words[0], outcome.status.success()) {
        ("create" | "run", true) => Said::Made,
        ("create", false) if error.contains("in use") => Said::Present,
        ("create" | "run", false) => Said::Nothing,
        // `rm -f` of nobody is fine, and prints no name.
        ("rm", true) if outcome.text().trim() == name => Said::Removed,
        ("rm", true) => Said::Absent,
        (_, true) => Said::Present,
        (_, false) if missing => Said::Absent,
        ("container", false) => panic!("there is one, or there is none: {}", outcome.story()),
        // It runs, it was just stopped …: it was there.
        (_, false) => Said::Nothing,
    };
    Act {
        words: words.join(" "),
        began,
        ended,
        said,
        why: error.trim_end().to_owned(),
    }
}

/// Whether two acts went on at the same time.
fn overlap(one: &Act, other: &Act) -> bool {
    one.began < other.ended && other.began < one.ended
}

/// An order in which all of it is true, or not. Nobody had the name before.
fn has_an_order(acts: &[Act]) -> bool {
    assert!(acts.len() <= 128, "too many acts for the model");
    let changes = |act: &Act| matches!(act.said, Said::Made | Said::Removed | Said::Nothing);
    // While a container comes or goes its name is taken, and the container is not there.
    let unsure = |at: usize| {
        let act = &acts[at];
        let during = |what: &dyn Fn(&Act) -> bool| {
            let mut others = acts.iter().enumerate();
            others.any(|(other, one)| other != at && what(one) && overlap(act, one))
        };
        match act.said {
            Said::Present => act.words.starts_with("create") && during(&changes),
            // Two that take away the same one may both say that it is gone.
            Said::Removed => {
                act.words.starts_with("rm -f") && during(&|one| one.said == Said::Removed)
            }
            _ => false,
        }
    };
    let unsure: Vec<bool> = (0..acts.len()).map(unsure).collect();
    let mut seen = HashSet::new();
    let mut stack = vec![(0_u128, false)];
    while let Some((done, present)) = stack.pop() {
        if done.count_ones() as usize == acts.len() {
            return true;
        }
        if !seen.insert((done, present)) {
            continue;
        }
        let open = |at: &usize| done & (1 << at) == 0;
        // Who ended before another began comes before it.
        let first_end = (0..acts.len())
            .filter(open)
            .map(|at| acts[at].ended)
            .min()
            .unwrap();
        for at in (0..acts.len())
            .filter(open)
            .filter(|at| acts[*at].began <= first_end)
        {
            let after: &[bool] = match acts[at].said {
                Said::Made if !present => &[true],
                Said::Removed if present => &[false],
                Said::Removed if unsure[at] => &[false],
                Said::Present if present || unsure[at] => &[present],
                Said::Absent if !present => &[present],
                // A run that could not start what it made: somebody took it away meanwhile, or it did itself.
                Said::Nothing if !present && acts[at].why.contains("start ") => &[false, true],
                // An act that failed changed nothing.
                Said::Nothing => &[present],
                _ => &[],
            };
            stack.extend(after.iter().map(|present| (done | (1 << at), *present)));
        }
    }
    false
}

fn round(bed: &Bed, seed: u64) {
    let mut acts: Vec<(usize, Act)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut numbers = Numbers(seed * CLIENTS + client);
                    let steps = (0..STEPS).map(|_| {
                        let name = usize::try_from(numbers.below(3)).unwrap();
                        (name, act(bed, numbers.below(9), NAMES[name]))
                    });
                    steps.collect::<Vec<_>>()
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    acts.sort_by_key(|(_, act)| act.began);
    for (at, name) in NAMES.iter().enumerate() {
        let own: Vec<Act> = acts
            .iter()
            .filter(|(name, _)| *name == at)
            .map(|(_, act)| act.clone())
            .collect();
        let began = own[0].began;
        let told: Vec<String> = own
            .iter()
            .map(|act| {
                let time = |at: Instant| at.duration_since(began).as_micros();
                format!(
                    "{:7} {:7} {:?}: {} {}",
                    time(act.began),
                    time(act.ended),
                    act.said,
                    act.words,
                    act.why
                )
            })
            .collect();
        assert!(
            has_an_order(&own),
            "no order explains what happened to {name} (seed {seed}):\n{}",
            told.join("\n")
        );
    }
    for name in NAMES {
        bed.run(&["rm", "-f", name]).ok();
    }
    assert_eq!(bed.run(&["ps", "-aq"]).ok(), "");
    bed.nothing_runs();
    bed.run(&["system", "check"]).ok();
}

#[test]
fn all_that_is_said_can_be_true() {
    bed!(|bed| {
        let rounds = std::env::var("WHARF_RACE_ROUNDS")
            .ok()
            .and_then(|text| text.parse().ok());
        for seed in 1..=rounds.unwrap_or(3) {
            round(bed, seed);
        }
    });
}

#[test]
fn the_model_knows_what_cannot_be() {
    use Said::{Absent, Made, Present, Removed};
    let epoch = Instant::now();
    let act = |words: &str, began: u64, ended: u64, said| Act {
        words: words.to_owned(),
        began: epoch + std::time::Duration::from_millis(began),
        ended: epoch + std::time::Duration::from_millis(ended),
        said,
        why: String::new(),
    };
    // One after the other, and both made it.
    assert!(!has_an_order(&[
        act("create", 0, 1, Made),
        act("create", 2, 3, Made)
    ]));
    // Both removed the same.
    assert!(!has_an_order(&[
        act("create", 0, 1, Made),
        act("rm", 2, 5, Removed),
        act("rm", 3, 6, Removed)
    ]));
    // Not there although it was made long ago.
    assert!(!has_an_order(&[
        act("create", 0, 1, Made),
        act("inspect", 2, 3, Absent)
    ]));
    // In use although nobody had it, was making it or taking it away.
    assert!(!has_an_order(&[act("create", 0, 1, Present)]));
    // At the same time either may be first.
    assert!(has_an_order(&[
        act("create", 0, 4, Made),
        act("inspect", 1, 2, Absent),
        act("inspect", 2, 3, Present)
    ]));
    assert!(has_an_order(&[
        act("create", 0, 1, Made),
        act("rm", 2, 9, Removed),
        act("create", 3, 4, Present),
        act("create", 5, 8, Made)
    ]));
}
