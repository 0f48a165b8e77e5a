//! The end: the exit record, and the clean-up if nobody else does it.

use std::path::{Path, PathBuf};

use state::{Durability, ExitRecord, Record};
use sys::Result;
use sys::spawn::Spawn;

/// What has to happen after the end.
#[derive(Debug)]
pub(crate) struct Exit {
    record: Option<PathBuf>,
    run_dir: PathBuf,
    command: Vec<String>,
    /// Somebody else cleans up, or the command was run.
    is_seen_to: bool,
}

impl Exit {
    pub(crate) fn new(record: Option<PathBuf>, run_dir: PathBuf, on_exit: Vec<String>) -> Self {
        Self {
            record,
            run_dir,
            command: on_exit,
            is_seen_to: false,
        }
    }

    /// Writes the record down. If that fails (a full disk), the clients are
    /// told with the record itself: it is the only place left.
    pub(crate) fn record(&self, mut record: ExitRecord) -> ExitRecord {
        if let Some(path) = &self.record
            && let Err(error) = Record::write(path, &record, Durability::Fast)
            && record.error.is_none()
        {
            record.error = Some(error.wrap("keep the exit status"));
        }
        record
    }

    /// The launching engine undoes what it did itself.
    pub(crate) fn leave_clean_up(&mut self) {
        self.is_seen_to = true;
    }

    /// Runs the clean-up command, once, unless it was done: the engine's
    /// clean-up ends with removing the run directory.
    pub(crate) fn clean_up(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_seen_to, true) || !self.run_dir.exists() {
            return Ok(());
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(());
        };
        let mut spawn = Spawn::new(Path::new(program));
        for argument in arguments {
            spawn = spawn.arg(argument);
        }
        // Nobody waits for it: it outlives us.
        spawn.new_session().start().map(drop)
    }
}
