//! Finding and becoming the program.

use std::convert::Infallible;
use std::ffi::CString;
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, FileType, OFlags, StatVfsMountFlags, accessat, statat, statvfs,
};
use rustix::io::Errno;
use spec::runtime::Process;
use sys::{Context as _, Error, ErrorKind, Result};

use super::program_file::{self, ProgramFile};
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
        // Our own root is the container's by now.
        if directory == "/" {
            return Ok(rustix::process::chdir("/")?);
        }
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
            format!("exec {name:?}: executable file not found in PATH"),
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
        .map_err(|errno| not_executable(&why_not(path, errno)))
}

/// The file is there and may not be executed.
fn why_not(path: &str, errno: Errno) -> String {
    let flags = statvfs(path).map(|stat| stat.f_flag);
    if flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC)) {
        return "its file system is mounted noexec; mount it with exec".to_owned();
    }
    match statat(CWD, path, AtFlags::empty()) {
        Ok(stat) if stat.st_mode & 0o111 == 0 => {
            "permission denied: it is not marked as executable (chmod +x)".to_owned()
        }
        Ok(stat) => format!(
            "permission denied: mode {:o} of user {} and group {} does not let this user execute it",
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid
        ),
        Err(_) => Error::from(errno).to_string(),
    }
}

/// The file exists and may be executed, so an error of execve is about what
/// is in it.
fn explain(program: &Program, error: &Error) -> Error {
    let path = program.path.to_string_lossy();
    let file = program_file::look(&path);
    let (kind, why) = match (error.errno(), file) {
        (Some(2), Some(ProgramFile::Script(interpreter))) => (
            ErrorKind::CommandNotFound,
            format!("its interpreter {interpreter:?} is not in the container"),
        ),
        (
            Some(2),
            Some(ProgramFile::Native {
                loader: Some(loader),
            }),
        ) => (
            ErrorKind::CommandNotFound,
            format!(
                "its dynamic loader {loader:?} is not in the container: it was built for another \
                 distribution"
            ),
        ),
        (Some(2), _) => (
            ErrorKind::CommandNotFound,
            "something that it names is not in the container".to_owned(),
        ),
        (Some(8), Some(ProgramFile::Foreign { machine })) => (
            ErrorKind::CommandNotExecutable,
            format!(
                "exec format error: it is a program for {machine}, and this machine is {}",
                std::env::consts::ARCH
            ),
        ),
        (Some(8), Some(ProgramFile::Empty)) => (
            ErrorKind::CommandNotExecutable,
            "exec format error: it is empty".to_owned(),
        ),
        (Some(8), _) => (
            ErrorKind::CommandNotExecutable,
            "exec format error: it is no program, and no script that begins with #!".to_owned(),
        ),
        (Some(13), Some(ProgramFile::Script(interpreter))) => (
            ErrorKind::CommandNotExecutable,
            format!("permission denied: its interpreter {interpreter:?} may not be executed"),
        ),
        (Some(26), _) => (
            ErrorKind::CommandNotExecutable,
            "somebody has it open for writing".to_owned(),
        ),
        _ => (ErrorKind::CommandNotExecutable, error.to_string()),
    };
    Error::new(kind, format!("exec {path:?}: {why}"))
}
