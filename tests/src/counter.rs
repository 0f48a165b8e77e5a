//! A container that counts, so that its log shows whether it went on where it was.

use crate::{BUSYBOX, Bed, eventually};

/// Counts from 1 on, a line for each number, so that its log shows whether it went on where it was.
pub const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

/// Starts one, and waits until it has counted a little.
pub fn counter(bed: &Bed, name: &str, options: &[&str]) {
    let mut arguments = vec!["run", "-d", "--name", name];
    if !options.contains(&"--network") && !options.contains(&"-p") {
        arguments.extend(["--network", "none"]);
    }
    arguments.extend(options);
    arguments.extend([BUSYBOX, "sh", "-c", COUNTER]);
    bed.run(&arguments).ok();
    counts_on(bed, name);
}

/// The last number, after a look at all of them: each is one more than the one before.
pub fn count(bed: &Bed, name: &str) -> u64 {
    let log = bed.run(&["logs", name]).ok();
    let numbers: Vec<u64> = log.lines().map(|line| line.parse().unwrap()).collect();
    for pair in numbers.windows(2) {
        assert_eq!(
            pair[0] + 1,
            pair[1],
            "{name} did not go on where it was: {log}"
        );
    }
    numbers.last().copied().unwrap_or(0)
}

/// Waits until it has counted farther than it has now.
pub fn counts_on(bed: &Bed, name: &str) {
    let before = count(bed, name);
    eventually(30, &format!("{name} to count on from {before}"), || {
        (count(bed, name) > before + 2).then_some(())
    });
}
