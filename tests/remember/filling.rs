//! Containers that go on before their memory is there: it is whole, whatever they do to it and whoever dies meanwhile
//! (`filling.c` judges itself).

use std::fs;
use std::path::PathBuf;

use black_box_tests::{BUSYBOX, Bed, Started, bed, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::status;

/// What the program fills.
const FILLED: u64 = 160 << 20;

/// A container with that program, and the directory that they have in common.
struct Subject<'a> {
    bed: &'a Bed,
    data: PathBuf,
}

impl<'a> Subject<'a> {
    fn running(bed: &'a Bed) -> Self {
        Self::running_with(bed, &[])
    }

    /// Gives signs of life, of which only one copy of it may write any.
    fn beating(bed: &'a Bed) -> Self {
        Self::running_with(bed, &["beat"])
    }

    fn running_with(bed: &'a Bed, arguments: &[&str]) -> Self {
        let data = bed.dir().join("data");
        fs::create_dir(&data).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/remember/filling.c");
        let program = data.join("filling");
        let binary = program.to_str().unwrap();
        let options = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"];
        let compile = [&options[..], &[source, "-o", binary]].concat();
        bed.host("cc", &compile).ok();
        let volume = format!("{}:/data", data.display());
        let network = ["--network", "none", "-v", &volume];
        let run = ["run", "-d", "--name", "one", "--stop-timeout", "0"];
        let command = [BUSYBOX, "/data/filling"];
        bed.run(&[&run[..], &network, &command, arguments].concat())
            .ok();
        let subject = Self { bed, data };
        eventually(30, "it to have filled its memory", || subject.said("ready"));
        subject
    }

    fn said(&self, what: &str) -> Option<String> {
        fs::read_to_string(self.data.join(what)).ok()
    }

    fn go(&self) {
        fs::write(self.data.join("go"), "").unwrap();
    }

    /// It found nothing wrong, and is done.
    fn is_well(&self) {
        eventually(60, "the verdict", || {
            assert_eq!(self.said("wrong"), None);
            self.said("verdict")
        });
        fs::remove_file(self.data.join("verdict")).unwrap();
        assert_eq!(self.said("wrong"), None);
    }

    fn goes_on(&self) {
        let before = self.said("beat");
        eventually(30, "a sign of life", || {
            (self.said("beat") != before).then_some(())
        });
    }

    /// It was ended for this reason, and saw nothing that was not its own.
    fn ended_unharmed(&self, reason: &str) {
        eventually(30, "its end", || {
            status(self.bed, "one")
                .starts_with("Exited (137)")
                .then_some(())
        });
        assert_eq!(self.said("wrong"), None);
        let error = self.bed.inspect("one", "{{.State.Error}}");
        assert!(error.contains(reason), "{error}");
        assert_eq!(pager_count(), 0);
    }

    /// Bytes, by how they came, of the last time that memory was brought.
    fn filled(&self) -> [u64; 3] {
        let arguments = [
            "events", "--since", "1h", "--until", "0s", "--format", "json",
        ];
        let events = self.bed.run(&arguments).ok();
        let fill = events.lines().rev().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            (event["Action"] == "fill").then(|| event["Actor"]["Attributes"].clone())
        });
        let fill = fill.unwrap_or_else(|| panic!("memory was not brought: {events}"));
        ["missing", "awaited", "inTurn"].map(|key| fill[key].as_str().unwrap().parse().unwrap())
    }

    /// Suspends it and lets it go on, with who brings its memory stopped in the middle of that.
    fn goes_on_with_stopped_pager(&self) -> (Started, Pid) {
        for _ in 0..20 {
            self.bed.run(&["suspend", "one"]).ok();
            let mut resume = self.bed.command(&["resume", "one"]).start();
            while resume.is_running() {
                if let Some(pager) = pager() {
                    // It may have ended by now.
                    let _ = kill_process(pager, Signal::STOP);
                    if is_stopped(pager) {
                        return (resume, pager);
                    }
                }
            }
            resume.finish().ok();
        }
        panic!("who brings its memory was never met");
    }
}

/// Whoever brings memory now.
fn pager() -> Option<Pid> {
    processes()
        .find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "wharf-pager\n")
        })
        .and_then(Pid::from_raw)
}

fn pager_count() -> usize {
    usize::from(pager().is_some())
}

fn parent(pid: Pid) -> Pid {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    Pid::from_raw(line.trim().parse().unwrap()).unwrap()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

fn is_stopped(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_pid());
    (0..1000).any(|_| {
        let stat = fs::read_to_string(&path).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('T'))
    })
}

#[test]
fn memory_is_whole_whatever_is_done_to_it_meanwhile() {
    bed!(|bed| {
        let subject = Subject::running(bed);
        bed.run(&["suspend", "one"]).ok();
        subject.go();
        bed.run(&["resume", "one"]).ok();
        subject.is_well();
        let [missing, awaited, in_turn] = subject.filled();
        // All that is in large mappings was missing when it went on, and it did not wait for its turn.
        assert!((FILLED..FILLED + (4 << 20)).contains(&missing), "{missing}");
        assert!(awaited > 0 && in_turn > 0, "{awaited} {in_turn}");
    });
}

#[test]
fn is_written_down_again_at_once() {
    bed!(|bed| {
        let subject = Subject::running(bed);
        for _ in 0..3 {
            bed.run(&["suspend", "one"]).ok();
            bed.run(&["resume", "one"]).ok();
        }
        bed.run(&["checkpoint", "--leave-running", "one", "kept"])
            .ok();
        bed.run(&["suspend", "one"]).ok();
        bed.run(&["resume", "one"]).ok();
        bed.run(&["clone", "one"]).ok();
        bed.run(&["rm", "-f", "one"]).ok();
        // The clone has the same directory, and judges all of its own.
        subject.go();
        subject.is_well();
        let clone = bed.run(&["ps", "-q"]).ok();
        bed.run(&["rm", "-f", &clone]).ok();
        // Its files are gone before its memory was needed.
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        bed.run(&["checkpoint", "rm", "kept"]).ok();
        subject.is_well();
    });
}

#[test]
fn goes_on_before_its_memory_is_there() {
    bed!(|bed| {
        let subject = Subject::beating(bed);
        let (resume, pager) = subject.goes_on_with_stopped_pager();
        resume.finish().ok();
        subject.goes_on();
        // Nobody gets a copy of it before all of it is there.
        let mut checkpoint = bed
            .command(&["checkpoint", "--leave-running", "one", "kept"])
            .start();
        subject.goes_on();
        assert!(checkpoint.is_running());
        kill_process(pager, Signal::CONT).unwrap();
        checkpoint.finish().ok();
        subject.go();
        subject.is_well();
        bed.run(&["rm", "-f", "one"]).ok();
        bed.run(&["restore", "kept", "--name", "two"]).ok();
        subject.is_well();
    });
}

#[test]
fn ends_if_who_brings_its_memory_dies() {
    bed!(|bed| {
        let subject = Subject::running(bed);
        let (resume, pager) = subject.goes_on_with_stopped_pager();
        resume.finish().ok();
        subject.go();
        kill_process(pager, Signal::KILL).unwrap();
        subject.ended_unharmed("whoever brought the rest of its memory was killed");
    });
}

#[test]
fn ends_if_its_monitor_dies() {
    bed!(|bed| {
        let subject = Subject::running(bed);
        let (resume, pager) = subject.goes_on_with_stopped_pager();
        resume.finish().ok();
        subject.go();
        let monitor = parent(pager);
        kill_process(monitor, Signal::KILL).unwrap();
        kill_process(pager, Signal::CONT).unwrap();
        eventually(30, "its end", || {
            (!status(bed, "one").starts_with("Up")).then_some(())
        });
        assert_eq!(subject.said("wrong"), None);
        eventually(30, "the end of all beside it", || {
            (pager_count() == 0).then_some(())
        });
    });
}

#[test]
fn ends_if_its_memory_is_cut_off() {
    bed!(|bed| {
        let subject = Subject::running(bed);
        let (resume, pager) = subject.goes_on_with_stopped_pager();
        resume.finish().ok();
        // No name leads there any more.
        let descriptors = format!("/proc/{}/fd", pager.as_raw_pid());
        let is_pages = |path: &PathBuf| {
            let leads_to = fs::read_link(path).unwrap_or_default();
            leads_to.to_string_lossy().contains("/pages")
        };
        let mut entries = fs::read_dir(descriptors)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let pages = entries.find(is_pages).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(pages)
            .unwrap()
            .set_len(4096)
            .unwrap();
        subject.go();
        kill_process(pager, Signal::CONT).unwrap();
        subject.ended_unharmed("the checkpoint's pages end before its memory");
    });
}
