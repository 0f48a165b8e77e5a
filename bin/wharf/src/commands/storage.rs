//! `wharf system storage`: a store on a file system with reflinks, in a file beside it.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::parse;
use sys::{Context as _, Error, ErrorKind, Result};

use super::{Call, DONE};
use crate::args::Given as _;
use crate::output;

/// Less is no XFS.
const SIZE_MIN: u64 = 300 << 20;
const FSTAB: &str = "/etc/fstab";

/// What is to be made.
struct Plan {
    /// `<root>.xfs`.
    file: PathBuf,
    /// Bytes that it may grow to.
    size: u64,
    root: PathBuf,
}

pub(super) fn run(call: &Call<'_>) -> Result<u8> {
    let engine = call.engine()?;
    let root = engine.layout().root();
    let size = match call.given.text("size") {
        Some(text) => parse::bytes(text)?,
        None => 50 << 30,
    };
    let plan = Plan {
        file: beside(root)?,
        size,
        root: root.to_owned(),
    };
    if call.given.on("print") {
        output::print(&plan.script())?;
        return Ok(DONE);
    }
    if engine.has_reflinks() {
        output::print_line(&format!("{} has reflinks already", root.display()))?;
        return Ok(DONE);
    }
    plan.check(engine.is_empty()?)?;
    plan.make()?;
    output::print_line(&format!(
        "{} is on an XFS in {} now, also after a reboot ({FSTAB})",
        root.display(),
        plan.file.display()
    ))?;
    Ok(DONE)
}

fn beside(root: &Path) -> Result<PathBuf> {
    let name = root.file_name().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{} has no directory that the file could be in",
                root.display()
            ),
        )
    })?;
    let mut name = name.to_owned();
    name.push(".xfs");
    Ok(root.with_file_name(name))
}

impl Plan {
    /// The same by hand.
    fn script(&self) -> String {
        let (file, root) = (self.file.display(), self.root.display());
        let mut text = String::new();
        let _ = writeln!(text, "truncate -s {} {file}", self.size);
        let _ = writeln!(text, "mkfs.xfs -q {file}");
        let _ = writeln!(text, "mkdir -p -m 700 {root}");
        let _ = writeln!(text, "echo '{}' >> {FSTAB}", self.entry());
        let _ = writeln!(text, "mount -o loop {file} {root}");
        text
    }

    /// A line of fstab(5).
    fn entry(&self) -> String {
        let escaped = |path: &Path| {
            let text = path.display().to_string();
            text.replace('\\', "\\134")
                .replace(' ', "\\040")
                .replace('\t', "\\011")
                .replace('\n', "\\012")
        };
        let (file, root) = (escaped(&self.file), escaped(&self.root));
        format!("{file} {root} xfs loop,nofail 0 0")
    }

    fn check(&self, is_empty: bool) -> Result<()> {
        let conflict = |why: String| Err(Error::new(ErrorKind::Conflict, why));
        if self.size < SIZE_MIN {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "an XFS needs 300 MB: ask for a larger --size",
            ));
        }
        if self.file.exists() {
            return conflict(format!("{} is there already", self.file.display()));
        }
        let root = self.root.display();
        if !is_empty {
            return conflict(format!(
                "{root} is in use: a new file system would hide what is there; save what you need, then \
                 wharf system reset"
            ));
        }
        if self.file.to_str().is_none() {
            return conflict(format!("{root} has a name that {FSTAB} cannot hold"));
        }
        Ok(())
    }

    /// All of it, or nothing.
    fn make(&self) -> Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file)
            .context(|| format!("make {}", self.file.display()))?;
        let made = file
            .set_len(self.size)
            .context(|| format!("make {}", self.file.display()))
            .and_then(|()| self.fill());
        made.inspect_err(|_| {
            let _ = fs::remove_file(&self.file);
        })
    }

    fn fill(&self) -> Result<()> {
        perform(
            "mkfs.xfs",
            &[Path::new("-q"), &self.file],
            "install xfsprogs",
        )?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .context(|| format!("make {}", self.root.display()))?;
        let before = fs::read(FSTAB).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error).context(|| format!("read {FSTAB}")),
        })?;
        let mut text = before.clone();
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(self.entry().as_bytes());
        text.push(b'\n');
        let write = |text: &[u8]| {
            state::record::replace(Path::new(FSTAB), text, state::Durability::Synced)
                .context(|| format!("write {FSTAB}"))
        };
        write(&text)?;
        let arguments = [Path::new("-o"), Path::new("loop"), &self.file, &self.root];
        perform("mount", &arguments, "is there a loop device?").inspect_err(|_| {
            let _ = write(&before);
        })
    }
}

/// Runs a program of the host's.
fn perform(program: &str, arguments: &[&Path], remedy: &str) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .context(|| format!("run {program} ({remedy})"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(
        ErrorKind::Internal,
        format!(
            "{program} failed ({remedy}): {}",
            said.trim().replace('\n', "; ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lies_beside_the_store() {
        let beside = beside(Path::new("/var/lib/wharf")).unwrap();
        assert_eq!(beside, Path::new("/var/lib/wharf.xfs"));
        assert!(super::beside(Path::new("/")).is_err());
        let plan = Plan {
            file: PathBuf::from("/my store.xfs"),
            size: 1 << 30,
            root: PathBuf::from("/my store"),
        };
        let line = "/my\\040store.xfs /my\\040store xfs loop,nofail 0 0";
        assert_eq!(plan.entry(), line);
    }
}
