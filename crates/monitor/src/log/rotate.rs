//! What becomes of a full file.
//!
//! Docker's form: `log` → `log.1` → `log.2` …, the newest has the lowest
//! number. The short form: `log` → `log.N`, N counts up, so that no file that
//! is being packed (to `log.N.zst`) ever changes its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sys::clone::Child;
use sys::spawn::Spawn;

/// Moves `path` out of the way. At most `max_files` files (at least 2) exist
/// once a new `path` was made.
pub(super) fn rotate(path: &Path, max_files: u32) -> io::Result<()> {
    for number in (1..max_files.saturating_sub(1)).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: impl std::fmt::Display) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Full files of the short form.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    max_files: u32,
    pack: Vec<String>,
    /// The last number that was given; none before the first look.
    last: Option<u64>,
    packing: Vec<Child>,
}

impl Archive {
    pub(super) fn new(path: PathBuf, max_files: u32, pack: Vec<String>) -> Self {
        Self {
            path,
            max_files,
            pack,
            last: None,
            packing: Vec::new(),
        }
    }

    /// Moves the current file to the others, forgets the oldest.
    pub(super) fn add(&mut self) -> io::Result<()> {
        let last = match self.last {
            Some(last) => last,
            None => self.numbers()?.into_iter().max().unwrap_or(0),
        };
        let number = last + 1;
        let full = numbered(&self.path, number);
        fs::rename(&self.path, &full)?;
        self.last = Some(number);
        self.packing.retain(|child| !is_over(child));
        // Without room for it nothing is packed: the file can be read as it is.
        if let Some((program, arguments)) = self.pack.split_first() {
            let mut spawn = Spawn::new(Path::new(program));
            for argument in arguments {
                spawn = spawn.arg(argument);
            }
            self.packing.extend(spawn.arg(&full).new_session().start());
        }
        let kept = u64::from(self.max_files) - 1;
        for old in self.numbers()? {
            if old + kept <= number {
                for path in [numbered(&self.path, old), packed(&self.path, old)] {
                    match fs::remove_file(path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let Some((directory, name)) = self.path.parent().zip(self.path.file_name()) else {
            return Ok(Vec::new());
        };
        let prefix = format!("{}.", name.to_string_lossy());
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            numbers.extend(number.and_then(|text| {
                text.strip_suffix(".zst")
                    .unwrap_or(text)
                    .parse::<u64>()
                    .ok()
            }));
        }
        Ok(numbers)
    }
}

fn packed(path: &Path, number: u64) -> PathBuf {
    numbered(path, format_args!("{number}.zst"))
}

/// Reaps it if it ended.
fn is_over(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::os::fd::AsFd as _;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(
        waitid(WaitId::PidFd(child.pidfd.as_fd()), options),
        Ok(None)
    )
}
