//! Finding and becoming the program.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, openat, statat};
use rustix::io::Errno;
use spec::runtime::Process;
use sys::{Context as _, Error, ErrorKind, Result};

use super::users::Account;
use crate::mounts::root::Root;

/// Where programs are looked for without PATH in the environment, as Docker
/// has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What execve(2) gets.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Finds the program with the rights of the user that we are by now.
    pub(crate) fn find(process: &Process, account: &Account) -> Result<Self> {
        let name = process
            .args
            .first()
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no program to run"))?;
        let path = process
            .env
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH);
        let found = if name.contains('/') {
            check(name)?;
            name.clone()
        } else {
            search(name, path)?
        };
        let text = |text: &str| {
            CString::new(text).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "an argument has a zero byte in it")
            })
        };
        let mut env = process
            .env
            .iter()
            .map(|entry| text(entry))
            .collect::<Result<Vec<_>>>()?;
        if !process.env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(text(&format!("HOME={}", account.home))?);
        }
        Ok(Self {
            path: text(&found)?,
            args: process
                .args
                .iter()
                .map(|arg| text(arg))
                .collect::<Result<_>>()?,
            env,
        })
    }
}

/// Becomes the program.
pub(crate) fn execute(program: &Program) -> Result<Infallible> {
    sys::process::execute(&program.path, &program.args, &program.env)
        .map_err(|error| explain(program, &error))
}

/// Changes to `directory` and verifies that it is in the container: a
/// descriptor of the host that leaked would show as unreachable. Links of
/// procfs to open files are not followed: some of ours are still open.
pub(crate) fn enter_directory(root: &Root, directory: &str) -> Result<()> {
    let enter = || -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opened = match root.open(Path::new(directory), flags) {
            Err(Errno::LOOP) => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "it leads through a link to an open file, or through too many links",
                ));
            }
            opened => opened?,
        };
        rustix::process::fchdir(&opened)?;
        let now = rustix::process::getcwd(Vec::new())?;
        if now.as_bytes().first() == Some(&b'/') {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Denied,
            "it is not inside the container",
        ))
    };
    enter()
        .map_err(|error| match error.kind() {
            // Not to be taken for a container that is not there.
            ErrorKind::NotFound => error.with_kind(ErrorKind::InvalidInput),
            _ => error,
        })
        .context(|| format!("change to working directory {directory:?}"))
}

fn search(name: &str, path: &str) -> Result<String> {
    let mut refused = None;
    if !name.is_empty() {
        for directory in path.split(':') {
            // An empty part is the working directory, by tradition.
            let directory = if directory.is_empty() { "." } else { directory };
            let candidate = format!("{directory}/{name}");
            match check(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(error) if error.kind() == ErrorKind::CommandNotExecutable => {
                    refused = refused.or(Some(error));
                }
                Err(_) => {}
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        Error::new(
            ErrorKind::CommandNotFound,
            format!("exec {name:?}: not found in PATH"),
        )
    }))
}

fn check(path: &str) -> Result<()> {
    let not_executable = |why: &str| {
        Error::new(
            ErrorKind::CommandNotExecutable,
            format!("exec {path:?}: {why}"),
        )
    };
    match statat(CWD, path, AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            return Err(not_executable("it is a directory"));
        }
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
            return Err(not_executable("it is not a regular file"));
        }
        Ok(_) => {}
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(Error::new(
                ErrorKind::CommandNotFound,
                format!("exec {path:?}: no such file or directory"),
            ));
        }
        Err(errno) => return Err(not_executable(&Error::from(errno).to_string())),
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .or_else(|errno| match errno {
            // Kernels without faccessat2.
            Errno::NOSYS | Errno::INVAL => accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()),
            errno => Err(errno),
        })
        .map_err(|errno| not_executable(&Error::from(errno).to_string()))
}

/// The file exists and may be executed, so an error of execve is about what
/// is in it.
fn explain(program: &Program, error: &Error) -> Error {
    let path = program.path.to_string_lossy();
    match error.errno() {
        Some(2) => Error::new(
            ErrorKind::CommandNotFound,
            match interpreter(&path) {
                Some(interpreter) => format!(
                    "exec {path:?}: its interpreter {interpreter:?} is not in the container"
                ),
                None => format!(
                    "exec {path:?}: the dynamic loader that it names is not in the container"
                ),
            },
        ),
        Some(8) => Error::new(
            ErrorKind::CommandNotExecutable,
            format!(
                "exec {path:?}: exec format error: not a program of this machine, or a script \
                 without #!"
            ),
        ),
        _ => Error::new(
            ErrorKind::CommandNotExecutable,
            format!("exec {path:?}: {error}"),
        ),
    }
}

/// What the `#!` line names.
fn interpreter(path: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).ok()?;
    let mut start = [0; 256];
    let count = rustix::io::read(&file, &mut start).ok()?;
    let line = start[..count].strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let text = std::ffi::OsStr::from_bytes(line)
        .to_string_lossy()
        .into_owned();
    text.split_whitespace().next().map(str::to_owned)
}
