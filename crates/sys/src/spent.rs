//! Closing descriptors many at a time.

use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};

/// Descriptors that are done with. Whoever opens a hundred in a row, as the
/// start of a container does, closes neighbors with one close_range(2)
/// (Linux 5.9) in place of a hundred calls.
#[derive(Debug, Default)]
pub struct Spent(Vec<OwnedFd>);

impl Spent {
    /// More are not kept open, so that any number of mounts fits into the
    /// limit of descriptors.
    const AT_MOST: usize = 128;

    pub fn add(&mut self, fd: impl Into<OwnedFd>) {
        self.0.push(fd.into());
        if self.0.len() >= Self::AT_MOST {
            self.close();
        }
    }

    pub fn extend(&mut self, fds: impl IntoIterator<Item = OwnedFd>) {
        for fd in fds {
            self.add(fd);
        }
    }

    /// Closes what was added. Dropping does the same.
    pub fn close(&mut self) {
        let mut all = std::mem::take(&mut self.0);
        all.sort_by_key(std::os::fd::AsRawFd::as_raw_fd);
        let mut run: Vec<OwnedFd> = Vec::new();
        for fd in all {
            let follows = run
                .last()
                .is_some_and(|last| last.as_raw_fd() + 1 == fd.as_raw_fd());
            if !follows {
                close_run(std::mem::take(&mut run));
            }
            run.push(fd);
        }
        close_run(run);
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.close();
    }
}

/// Descriptors with no number missing between the first and the last.
fn close_run(run: Vec<OwnedFd>) {
    if run.len() < 2 {
        return;
    }
    let numbers: Vec<u32> = run
        .into_iter()
        .map(|fd| fd.into_raw_fd().cast_unsigned())
        .collect();
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    // SAFETY: every descriptor of the range was ours alone and has been given
    // up. As close(2), this closes whatever it returns.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_its_own_and_nothing_between() {
        let open = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let fds: Vec<OwnedFd> = (0..40).map(|_| open()).collect();
        let mut kept = Vec::new();
        let mut gone = Vec::new();
        let mut spent = Spent::default();
        for (index, fd) in fds.into_iter().enumerate() {
            if index % 7 == 3 {
                kept.push(fd);
            } else {
                gone.push(fd.as_raw_fd());
                spent.add(fd);
            }
        }
        drop(spent);
        for fd in &kept {
            assert!(rustix::io::fcntl_getfd(fd).is_ok());
        }
        // Other tests of this process open files too: at least most numbers are free.
        let free = |fd: &&i32| !std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists();
        assert!(gone.iter().filter(free).count() > gone.len() / 2);
    }
}
