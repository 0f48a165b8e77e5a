//! Pipes and what is in them.

use std::os::fd::AsFd;

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee,
};
use sys::{Context as _, Result};

use super::descriptors::Ends;
use super::files::{O_ACCMODE, Seen};
use crate::image::hex;
use crate::image::schema::{Kind, Pipe};

pub(super) fn collect(one: &Seen, seen: &[Seen], ends: &mut Ends) -> Result<Kind> {
    let pipe = ends.pipe(&one.link, || {
        let reader = seen
            .iter()
            .find(|other| other.link == one.link && other.info.flags() & O_ACCMODE != 1);
        let capacity = fcntl_getpipe_size(&one.ours).context(|| "read the size of a pipe")?;
        Ok(Pipe {
            path: one.link.starts_with('/').then(|| one.link.clone()),
            capacity: capacity as u64,
            content: match reader {
                Some(reader) => hex::encode(&content(&reader.ours, capacity)?),
                // Nobody is left to read it.
                None => String::new(),
            },
        })
    })?;
    Ok(Kind::Pipe { pipe })
}

/// What is in the pipe, which keeps it.
fn content(pipe: impl AsFd, capacity: usize) -> Result<Vec<u8>> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&write, capacity)?;
    let copied = match tee(&pipe, &write, capacity, SpliceFlags::NONBLOCK) {
        Ok(copied) => copied,
        Err(rustix::io::Errno::AGAIN) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let mut content = vec![0; copied];
    let mut done = 0;
    while done < copied {
        done += rustix::io::read(&read, &mut content[done..])?;
    }
    Ok(content)
}
