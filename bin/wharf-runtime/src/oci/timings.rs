//! `--timings`: where the time goes, a line for each phase.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Instant;

/// Ends of phases, in order; nothing is measured unless that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timings(Option<RefCell<Vec<(&'static str, Instant)>>>);

impl Timings {
    /// Begins to measure.
    pub(crate) fn begin(wanted: bool) -> Self {
        Self(wanted.then(|| RefCell::new(vec![("", Instant::now())])))
    }

    /// The phase `name` ends now.
    pub(crate) fn done(&self, name: &'static str) {
        if let Self(Some(phases)) = self {
            phases.borrow_mut().push((name, Instant::now()));
        }
    }

    /// Milliseconds by phase; nothing if nothing was measured.
    pub(super) fn report(&self) -> Option<String> {
        let phases = self.0.as_ref()?.borrow();
        let (_, begin) = phases.first()?;
        let mut text = String::new();
        let mut before = begin;
        for (name, at) in phases.iter().skip(1) {
            let took = at.duration_since(*before).as_secs_f64() * 1e3;
            let _ = writeln!(text, "{name:12} {took:9.3} ms");
            before = at;
        }
        let all = before.duration_since(*begin).as_secs_f64() * 1e3;
        let _ = write!(text, "{:12} {all:9.3} ms", "all");
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_each_phase_once_and_nothing_unasked() {
        let timings = Timings::begin(true);
        timings.done("one");
        timings.done("two");
        let report = timings.report().unwrap();
        let names: Vec<&str> = report
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(names, ["one", "two", "all"]);
        let silent = Timings::default();
        silent.done("one");
        assert_eq!(silent.report(), None);
    }
}
