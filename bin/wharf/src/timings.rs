//! `--timings`: how long each step took.

use std::cell::RefCell;
use std::time::Instant;

/// Steps in order; nothing is measured unless asked for.
#[derive(Debug)]
pub(crate) struct Timings {
    steps: Option<RefCell<Vec<(&'static str, Instant)>>>,
    begin: Instant,
}

impl Timings {
    pub(crate) fn new(begin: Instant, wanted: Wanted) -> Self {
        Self {
            steps: (wanted == Wanted::Yes).then(RefCell::default),
            begin,
        }
    }

    /// The step `name` is done now.
    pub(crate) fn done(&self, name: &'static str) {
        if let Some(steps) = &self.steps {
            steps.borrow_mut().push((name, Instant::now()));
        }
    }

    /// A line per step, in milliseconds; empty if not asked for.
    pub(crate) fn report(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let Some(steps) = &self.steps else {
            return text;
        };
        let mut before = self.begin;
        for (name, at) in steps.borrow().iter() {
            let took = at.duration_since(before).as_secs_f64() * 1e3;
            let _ = writeln!(text, "{name:20} {took:9.3} ms");
            before = *at;
        }
        let all = before.duration_since(self.begin).as_secs_f64() * 1e3;
        let _ = write!(text, "{:20} {all:9.3} ms", "all");
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Yes,
    No,
}
