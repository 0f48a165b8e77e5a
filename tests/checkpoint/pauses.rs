//! What is copied while the container runs, and what when it stands.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use black_box_tests::{bed, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::Subject;

/// What `checkpoint` says of itself.
fn statistics(work: &str) -> Value {
    let text = fs::read(Path::new(work).join("dump.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Whether the kernel has the version.
fn is_since(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

fn pages(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn stands_only_for_what_it_wrote_since() {
    bed!(|bed| {
        let subject = Subject::new(bed, "settled");
        subject.start();
        let image = subject.image("image");
        let options = ["--leave-running", "--work-path", &image];
        subject.checkpoint(&image, &options).ok();
        let said = statistics(&image);
        let (running, standing) = (&said["pages_running"], pages(&said["pages_standing"]));
        let running: Vec<u64> = running.as_array().unwrap().iter().map(pages).collect();
        if !is_since(6, 7) {
            assert!(running.is_empty() && standing >= 8192, "{said}");
            return;
        }
        // All 8192 pages once, and nothing of them again.
        assert!(running[0] >= 8192 && running[0] < 8192 + 200, "{said}");
        assert!(running[1..].iter().sum::<u64>() < 100, "{said}");
        assert!(standing < 200, "{said}");
        // Half of them are zero, and cost nothing.
        let size = fs::metadata(Path::new(&image).join("pages"))
            .unwrap()
            .blocks()
            * 512;
        assert!(size < (4096 + 300) * 4096, "{size}");
        subject.checkpoint(&image, &[]).ok();
        subject.bundle.delete();
        subject.restore(&image).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

/// Between three processes, two of which write to eight pages each, all the while.
#[test]
fn stands_only_for_what_was_written_of_shared_memory() {
    bed!(|bed| {
        let subject = Subject::new(bed, "shared_settled");
        subject.start();
        let image = subject.image("image");
        let options = ["--leave-running", "--work-path", &image];
        subject.checkpoint(&image, &options).ok();
        let said = statistics(&image);
        let (running, standing) = (&said["pages_running"], pages(&said["pages_standing"]));
        let running: Vec<u64> = running.as_array().unwrap().iter().map(pages).collect();
        // All 16384 pages once, and then those 16; the rest is private.
        assert!(running[0] >= 16384 && running[0] < 16384 + 200, "{said}");
        assert!(running[1..].iter().sum::<u64>() < 200, "{said}");
        assert!((1..200).contains(&standing), "{said}");
        let size = fs::metadata(Path::new(&image).join("pages")).unwrap();
        assert!(size.len() < (16384 + 300) * 4096, "{size:?}");
        subject.checkpoint(&image, &[]).ok();
        subject.bundle.delete();
        subject.restore(&image).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

/// Memory may still be read from the one before; and where a file is cut to nothing and written again, some file systems
/// take it to the disk when it is closed.
#[test]
fn a_second_checkpoint_in_a_directory_writes_no_file_of_the_first() {
    bed!(|bed| {
        let subject = Subject::new(bed, "settled");
        subject.start();
        let image = subject.image("image");
        subject.checkpoint(&image, &["--leave-running"]).ok();
        let names = ["pages", "checkpoint"].map(|name| Path::new(&image).join(name));
        let first = names.clone().map(|name| fs::File::open(name).unwrap());
        let content = |file: &fs::File| {
            let mut bytes = Vec::new();
            let mut file = file;
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let before = first.each_ref().map(content);
        subject.checkpoint(&image, &[]).ok();
        assert!(first.each_ref().map(content) == before);
        for (name, first) in names.iter().zip(&first) {
            assert_eq!(first.metadata().unwrap().nlink(), 0, "{name:?}");
        }
        subject.bundle.delete();
        subject.restore(&image).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

/// Killed while the container runs and is being copied.
#[test]
fn whoever_copies_may_die() {
    bed!(|bed| {
        let subject = Subject::new(bed, "dontneed");
        subject.start();
        let image = subject.image("image");
        let state = subject.bundle.runtime(&["state", subject.bundle.id()]);
        let pid = state.json()["pid"].as_u64().unwrap();
        let arguments = ["checkpoint", "--leave-running", "--image-path", &image];
        let arguments = [&arguments[..], &[subject.bundle.id()]].concat();
        let died_copying = (0..20).any(|_| {
            let pages = Path::new(&image).join("pages");
            let _ = fs::remove_file(&pages);
            let mut copying = subject.bundle.command(&arguments).start();
            let written = || fs::metadata(&pages).map_or(0, |about| about.len());
            eventually(30, "some pages to be copied", || {
                (written() > 1 << 20).then_some(())
            });
            if !copying.is_running() {
                return false;
            }
            // Where it is, can be seen while it stands: not at the last stop, in which its death is not harmless yet.
            copying.signal(Signal::STOP);
            let stat = format!("/proc/{}/stat", copying.pid().as_raw_nonzero());
            eventually(30, "it to stand", || {
                let stat = fs::read_to_string(&stat).unwrap();
                stat.contains(") T ")
                    .then_some(())
                    .or(stat.contains(") Z ").then_some(()))
            });
            let is_copying = written() < 56 << 20;
            copying.signal(if is_copying {
                Signal::KILL
            } else {
                Signal::CONT
            });
            copying.finish();
            is_copying
        });
        assert!(died_copying, "20 times it was done too soon");
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        for link in links.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()) {
            assert!(!link.to_string_lossy().contains("userfaultfd"), "{link:?}");
        }
        let flags = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let watched = flags
            .lines()
            .find(|line| line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "uw"));
        assert_eq!(watched, None);
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}
