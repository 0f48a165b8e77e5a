//! What the live view shows, and what keys do to it. Pure.

use std::collections::{HashMap, VecDeque};

use engine::containers::stats::StatsSample;
use state::ContainerId;

use super::keys::Key;

/// Looks that a sparkline shows.
pub(super) const HISTORY: usize = 12;
/// Lines of a log that are kept for the screen.
pub(super) const LOG_LINES: usize = 200;

/// What can be done to a container from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Stop,
    Restart,
}

impl Act {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    pub(super) fn past(self) -> &'static str {
        match self {
            Self::Stop => "stopped",
            Self::Restart => "restarted",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Cpu,
    Memory,
    Io,
    Processes,
    Name,
}

/// What follows a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Go,
    Leave,
    Do(Act, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Table,
    /// A question that `y` answers with yes.
    Ask(Act, String),
    Logs {
        of: String,
        lines: Vec<String>,
    },
}

/// One container.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// Percent of one processor.
    pub(super) cpu: Option<f64>,
    /// The same at the last looks, oldest first.
    pub(super) history: Vec<f64>,
    pub(super) memory: u64,
    pub(super) limit: u64,
    /// Bytes per second from and to disks.
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) processes: u64,
}

#[derive(Debug)]
pub(super) struct View {
    /// Bytes of memory that the host has.
    host: u64,
    samples: Vec<StatsSample>,
    earlier: HashMap<ContainerId, StatsSample>,
    cpu: HashMap<ContainerId, VecDeque<f64>>,
    pub(super) sort: Sort,
    chosen: Option<ContainerId>,
    mode: Mode,
    message: String,
}

impl View {
    pub(super) fn new(host: u64) -> Self {
        Self {
            host,
            samples: Vec::new(),
            earlier: HashMap::new(),
            cpu: HashMap::new(),
            sort: Sort::Cpu,
            chosen: None,
            mode: Mode::Table,
            message: String::new(),
        }
    }

    /// A new look at all that run.
    pub(super) fn add(&mut self, samples: Vec<StatsSample>) {
        let old = std::mem::replace(&mut self.samples, samples);
        self.earlier = old.into_iter().map(|sample| (sample.id, sample)).collect();
        let lives = |id: &ContainerId| self.samples.iter().any(|sample| sample.id == *id);
        self.cpu.retain(|id, _| lives(id));
        if self.chosen.as_ref().is_some_and(|id| !lives(id)) {
            self.chosen = None;
        }
        for sample in &self.samples {
            let earlier = self.earlier.get(&sample.id);
            if let Some(percent) = earlier.and_then(|earlier| sample.cpu_percent(earlier)) {
                let history = self.cpu.entry(sample.id).or_default();
                history.push_back(percent);
                if history.len() > HISTORY {
                    history.pop_front();
                }
            }
        }
        if self.chosen.is_none() {
            self.chosen = self.sorted().first().map(|(id, _)| *id);
        }
    }

    pub(super) fn tell(&mut self, message: String) {
        self.message = message;
    }

    /// Whose log is looked at.
    pub(super) fn logs_of(&self) -> Option<String> {
        match &self.mode {
            Mode::Logs { of, .. } => Some(of.clone()),
            _ => None,
        }
    }

    pub(super) fn set_logs(&mut self, new: Vec<String>) {
        if let Mode::Logs { lines, .. } = &mut self.mode {
            *lines = new;
        }
    }

    /// Title and lines, if a log is looked at.
    pub(super) fn logs(&self) -> Option<(&str, &[String])> {
        match &self.mode {
            Mode::Logs { of, lines } => Some((of, lines)),
            _ => None,
        }
    }

    /// What stands in the last line: a question or the last news.
    pub(super) fn footer(&self) -> String {
        match &self.mode {
            Mode::Ask(act, name) => format!("{} {name}? (y/n)", act.word()),
            _ if !self.message.is_empty() => self.message.clone(),
            Mode::Logs { .. } => "Esc back  q leave".to_owned(),
            Mode::Table => {
                "sort: c cpu  m memory  i I/O  p processes  n name | l logs  s stop  r restart  q leave"
                    .to_owned()
            }
        }
    }

    pub(super) fn key(&mut self, key: Key) -> Step {
        self.message.clear();
        match (&self.mode, key) {
            (Mode::Ask(act, name), key) => {
                let step = match key {
                    Key::Letter('y' | 'Y') => Step::Do(*act, name.clone()),
                    _ => Step::Go,
                };
                if let Step::Do(act, name) = &step {
                    self.message = format!("{} {name} …", act.word());
                }
                self.mode = Mode::Table;
                step
            }
            (_, Key::Letter('q')) => Step::Leave,
            (Mode::Logs { .. }, Key::Escape | Key::Letter('l')) => {
                self.mode = Mode::Table;
                Step::Go
            }
            (Mode::Logs { .. }, _) => Step::Go,
            (Mode::Table, key) => {
                self.table_key(key);
                Step::Go
            }
        }
    }

    fn table_key(&mut self, key: Key) {
        match key {
            Key::Letter('c') => self.sort = Sort::Cpu,
            Key::Letter('m') => self.sort = Sort::Memory,
            Key::Letter('i') => self.sort = Sort::Io,
            Key::Letter('p') => self.sort = Sort::Processes,
            Key::Letter('n') => self.sort = Sort::Name,
            Key::Up | Key::Letter('k') => self.choose(-1),
            Key::Down | Key::Letter('j') => self.choose(1),
            Key::Letter(letter @ ('s' | 'r' | 'l')) => {
                let Some(name) = self.chosen_name() else {
                    return;
                };
                self.mode = match letter {
                    's' => Mode::Ask(Act::Stop, name),
                    'r' => Mode::Ask(Act::Restart, name),
                    _ => Mode::Logs {
                        of: name,
                        lines: Vec::new(),
                    },
                };
            }
            Key::Escape | Key::Letter(_) => {}
        }
    }

    fn choose(&mut self, step: isize) {
        let sorted = self.sorted();
        let at = sorted
            .iter()
            .position(|(id, _)| Some(*id) == self.chosen)
            .unwrap_or(0);
        let at = at
            .saturating_add_signed(step)
            .min(sorted.len().saturating_sub(1));
        self.chosen = sorted.get(at).map(|(id, _)| *id);
    }

    fn chosen_name(&self) -> Option<String> {
        let mut all = self.samples.iter();
        let chosen = all.find(|sample| Some(sample.id) == self.chosen)?;
        Some(chosen.name.clone())
    }

    /// In the order of the table; true is the chosen one.
    pub(super) fn rows(&self) -> Vec<(bool, Row)> {
        let sorted = self.sorted().into_iter();
        sorted
            .map(|(id, row)| (Some(id) == self.chosen, row))
            .collect()
    }

    fn sorted(&self) -> Vec<(ContainerId, Row)> {
        let mut rows: Vec<_> = self
            .samples
            .iter()
            .map(|sample| (sample.id, self.row(sample)))
            .collect();
        rows.sort_by(|(_, a), (_, b)| {
            let more = match self.sort {
                Sort::Cpu => b.cpu.unwrap_or(0.0).total_cmp(&a.cpu.unwrap_or(0.0)),
                Sort::Memory => b.memory.cmp(&a.memory),
                Sort::Io => (b.read + b.written).cmp(&(a.read + a.written)),
                Sort::Processes => b.processes.cmp(&a.processes),
                Sort::Name => std::cmp::Ordering::Equal,
            };
            more.then_with(|| a.name.cmp(&b.name))
        });
        rows
    }

    fn row(&self, sample: &StatsSample) -> Row {
        let earlier = self.earlier.get(&sample.id);
        let usage = &sample.usage;
        let rate = |now: Option<u64>, before: fn(&StatsSample) -> Option<u64>| {
            let earlier = earlier?;
            let millis = sample.taken.duration_since(earlier.taken).as_millis();
            let bytes = now?.checked_sub(before(earlier)?)?;
            u64::try_from(u128::from(bytes) * 1000 / millis.max(1)).ok()
        };
        let history = self.cpu.get(&sample.id);
        Row {
            name: sample.name.clone(),
            cpu: history.and_then(|history| history.back().copied()),
            history: history
                .map(|all| all.iter().copied().collect())
                .unwrap_or_default(),
            memory: usage.memory.unwrap_or(0),
            limit: usage.memory_limit.unwrap_or(self.host).min(self.host),
            read: rate(usage.read, |sample| sample.usage.read).unwrap_or(0),
            written: rate(usage.written, |sample| sample.usage.written).unwrap_or(0),
            processes: usage.pids.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use engine::Usage;

    use super::*;

    fn sample(number: u8, began: Instant, seconds: u64, cpu: u64, memory: u64) -> StatsSample {
        StatsSample {
            id: ContainerId::from_bytes([number; 32]),
            name: format!("c{number}"),
            is_running: true,
            taken: began + Duration::from_secs(seconds),
            usage: Usage {
                cpu_nanos: Some(cpu * 10_000_000),
                memory: Some(memory),
                ..Usage::default()
            },
            received: None,
            sent: None,
        }
    }

    fn names(view: &View) -> Vec<String> {
        let rows = view.rows().into_iter();
        rows.map(|(chosen, row)| format!("{}{}", if chosen { "*" } else { "" }, row.name))
            .collect()
    }

    fn two() -> View {
        let began = Instant::now();
        let mut view = View::new(1 << 30);
        view.add(vec![sample(1, began, 0, 0, 9), sample(2, began, 0, 0, 5)]);
        view.add(vec![sample(1, began, 1, 10, 9), sample(2, began, 1, 60, 5)]);
        view
    }

    #[test]
    fn sorts_and_keeps_the_chosen_one() {
        let mut view = two();
        assert_eq!(names(&view), ["c2", "*c1"]);
        assert_eq!(view.rows()[0].1.cpu, Some(60.0));
        view.key(Key::Letter('m'));
        assert_eq!(names(&view), ["*c1", "c2"]);
        view.key(Key::Down);
        view.key(Key::Down);
        assert_eq!(names(&view), ["c1", "*c2"]);
        view.add(vec![sample(1, Instant::now(), 2, 0, 9)]);
        assert_eq!(names(&view), ["*c1"]);
    }

    #[test]
    fn asks_before_it_acts() {
        let mut view = two();
        assert_eq!(view.key(Key::Letter('s')), Step::Go);
        assert_eq!(view.footer(), "stop c1? (y/n)");
        assert_eq!(view.key(Key::Letter('n')), Step::Go);
        view.key(Key::Letter('r'));
        assert_eq!(
            view.key(Key::Letter('y')),
            Step::Do(Act::Restart, "c1".into())
        );
        view.key(Key::Letter('l'));
        assert_eq!(view.logs_of().as_deref(), Some("c1"));
        view.key(Key::Escape);
        assert_eq!(view.logs_of(), None);
        assert_eq!(view.key(Key::Letter('q')), Step::Leave);
    }
}
