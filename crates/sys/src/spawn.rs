//! Starting another program with an exact map of descriptors. Safe from
//! processes with threads (posix_spawn: no code of ours runs in the child).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::clone::Child;
use crate::{Context as _, Error, ErrorKind, Result};

/// Descriptors are moved above this before they are put in their places, so
/// that no place is overwritten before it was used as a source.
const ABOVE_ALL_PLACES: i32 = 64;

/// A program to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    program: &'a Path,
    args: Vec<CString>,
    env: Vec<CString>,
    fds: Vec<(OwnedFd, i32)>,
    new_session: bool,
    bad: Option<Error>,
}

impl<'a> Spawn<'a> {
    /// `program` is a path; PATH is not searched. Argument 0 is the path, the
    /// environment empty, and 0, 1 and 2 are inherited. No other descriptor
    /// than those given survives if it is close-on-exec.
    pub fn new(program: &'a Path) -> Self {
        let mut spawn = Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            fds: Vec::new(),
            new_session: false,
            bad: None,
        };
        let name = spawn.text(program.as_os_str());
        spawn.args.extend(name);
        spawn
    }

    /// Argument 0 in place of the path.
    #[must_use]
    pub fn name(mut self, name: impl AsRef<OsStr>) -> Self {
        if let (Some(name), Some(place)) = (self.text(name.as_ref()), self.args.first_mut()) {
            *place = name;
        }
        self
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        let arg = self.text(arg.as_ref());
        self.args.extend(arg);
        self
    }

    /// `NAME=value`.
    #[must_use]
    pub fn env(mut self, entry: impl AsRef<OsStr>) -> Self {
        let entry = self.text(entry.as_ref());
        self.env.extend(entry);
        self
    }

    /// Puts a copy of `fd` at number `place` of the new process; places above
    /// 63 come in ascending order.
    #[must_use]
    pub fn fd(mut self, fd: BorrowedFd<'_>, place: i32) -> Self {
        match rustix::io::fcntl_dupfd_cloexec(fd, ABOVE_ALL_PLACES) {
            // Later copies have higher numbers still, so this place overwrites
            // none that is yet to be used.
            Ok(copy) if (0..copy.as_raw_fd()).contains(&place) => self.fds.push((copy, place)),
            Ok(_) => {
                self.bad = Some(Error::new(
                    ErrorKind::Internal,
                    "too many descriptors to hand over",
                ));
            }
            Err(errno) => self.bad = Some(errno.into()),
        }
        self
    }

    /// The process leads a session of its own: no terminal reaches it.
    #[must_use]
    pub fn new_session(mut self) -> Self {
        self.new_session = true;
        self
    }

    /// Starts it, with no signal blocked and SIGPIPE as programs expect it.
    pub fn start(self) -> Result<Child> {
        let program = self.program;
        self.try_start()
            .context(|| format!("start {}", program.display()))
    }

    fn try_start(self) -> Result<Child> {
        if let Some(error) = self.bad {
            return Err(error);
        }
        let path = CString::new(self.program.as_os_str().as_bytes())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the path has a zero byte in it"))?;
        let mut attributes = Attributes::new()?;
        attributes.prepare(self.new_session)?;
        let mut actions = FileActions::new()?;
        for (fd, place) in &self.fds {
            actions.dup(fd.as_raw_fd(), *place)?;
        }
        let mut args = pointers(&self.args);
        let mut env = pointers(&self.env);
        let mut pid: libc::pid_t = -1;
        // SAFETY: every pointer is to a live, null-terminated array of live
        // strings; attributes and actions were initialised.
        let result = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                args.as_mut_ptr(),
                env.as_mut_ptr(),
            )
        };
        check(result)?;
        // Nobody else reaps our child, so the pid is still its own.
        let named = rustix::process::Pid::from_raw(pid)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no pid"))?;
        let pidfd = rustix::process::pidfd_open(named, rustix::process::PidfdFlags::empty())?;
        Ok(Child { pid, pidfd })
    }

    fn text(&mut self, text: &OsStr) -> Option<CString> {
        let made = CString::new(text.as_bytes()).ok();
        if made.is_none() {
            self.bad = Some(Error::new(
                ErrorKind::InvalidInput,
                "an argument has a zero byte in it",
            ));
        }
        made
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> Result<Self> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: init fills it or fails.
        check(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: just initialised.
        Ok(Self(unsafe { raw.assume_init() }))
    }

    fn prepare(&mut self, new_session: bool) -> Result<()> {
        let mut flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        if new_session {
            flags |= 0x80; // POSIX_SPAWN_SETSID, which the libc crate lacks for glibc.
        }
        let mut none = std::mem::MaybeUninit::uninit();
        let mut pipe = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset fills both sets before they are read; the
        // attributes are initialised.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigemptyset(pipe.as_mut_ptr());
            libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigmask(
                &raw mut self.0,
                none.as_ptr(),
            ))?;
            check(libc::posix_spawnattr_setsigdefault(
                &raw mut self.0,
                pipe.as_ptr(),
            ))?;
            check(libc::posix_spawnattr_setflags(
                &raw mut self.0,
                libc::c_short::try_from(flags).unwrap_or_default(),
            ))
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> Result<Self> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: init fills it or fails.
        check(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: just initialised.
        Ok(Self(unsafe { raw.assume_init() }))
    }

    fn dup(&mut self, from: i32, to: i32) -> Result<()> {
        // SAFETY: the actions are initialised.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

fn pointers(texts: &[CString]) -> Vec<*mut libc::c_char> {
    let mut all: Vec<_> = texts.iter().map(|text| text.as_ptr().cast_mut()).collect();
    all.push(std::ptr::null_mut());
    all
}

fn check(result: libc::c_int) -> Result<()> {
    match result {
        0 => Ok(()),
        errno => Err(Error::from_errno(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    #[test]
    fn hands_over_exactly_the_descriptors_named() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let child = Spawn::new(Path::new("/bin/sh"))
            .arg("-c")
            .arg("echo $A >&5; ls /proc/self/fd >&5")
            .env("A=b")
            .fd(writer.as_fd(), 5)
            .start()
            .unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(reader)
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.starts_with("b\n"), "{text}");
        assert!(text.lines().any(|line| line == "5"), "{text}");
        rustix::process::waitid(
            rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        )
        .unwrap();
    }

    #[test]
    fn says_what_could_not_be_started() {
        let error = Spawn::new(Path::new("/does/not/exist"))
            .start()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("/does/not/exist"));
    }
}
