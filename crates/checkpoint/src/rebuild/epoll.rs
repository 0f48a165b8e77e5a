//! Epoll descriptors. What is watched is known to the kernel under the number
//! that the adding process had for it, so that process adds it again.

use super::Work;
use crate::image::schema::{Kind, Process};
use crate::inject::Program;

const EPOLL_CTL: u32 = 233;
const EPOLL_CREATE1: u32 = 291;
const DUP3: u32 = 292;
const ADD: u32 = 1;

pub(super) fn make(program: &mut Program) {
    program.call("make an epoll descriptor", EPOLL_CREATE1, &[0.into()]);
}

/// Before the process has any descriptor but those of the pool.
pub(super) fn fill(program: &mut Program, what: &Process, work: &Work<'_>) {
    for (index, description) in work.checkpoint.descriptions.iter().enumerate() {
        let Kind::Epoll { process, watched } = &description.kind else {
            continue;
        };
        if *process != what.pid {
            continue;
        }
        let epoll = work.pool.description(index);
        for watched in watched {
            let from = work.pool.description(watched.description);
            let arguments = [from.into(), watched.fd.into(), 0.into()];
            program.call("show a descriptor to epoll", DUP3, &arguments);
            let mut event = watched.events.to_le_bytes().to_vec();
            event.extend_from_slice(&watched.data.to_le_bytes());
            let event = program.data(&event);
            let arguments = [epoll.into(), ADD.into(), watched.fd.into(), event.into()];
            program.call("watch a descriptor", EPOLL_CTL, &arguments);
        }
    }
}
