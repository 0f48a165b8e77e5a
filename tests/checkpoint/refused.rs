//! What cannot be carried is refused in one sentence, and the container goes on.

use std::fs;

use black_box_tests::{Bed, bed};

use crate::Subject;

fn is_refused(bed: &Bed, program: &str, parts: &[&str]) {
    let subject = Subject::new(bed, program);
    subject.start();
    let image = subject.image("image");
    subject.checkpoint(&image, &[]).fails(1, parts);
    assert!(!fs::exists(&image).unwrap(), "half an image stays");
    assert_eq!(subject.bundle.status(), "running");
    assert_eq!(subject.verdict(), "ok", "{program}");
    subject.bundle.wait_stopped();
    subject.bundle.delete();
}

#[test]
fn tcp_connections() {
    bed!(|bed| is_refused(
        bed,
        "connected",
        &["process 1", "TCP connection to 127.0.0.1:", "--tcp-close"]
    ));
}

#[test]
fn semaphores_that_an_end_would_change() {
    bed!(|bed| is_refused(bed, "undoing", &["process 1", "SEM_UNDO"]));
}

#[test]
fn processes_that_were_put_in_from_outside() {
    bed!(|bed| {
        let subject = Subject::new(bed, "files");
        subject.start();
        let id = subject.bundle.id();
        let exec = ["exec", "--detach", id, "/bin/sleep", "100"];
        let mut command = subject.bundle.command(&exec);
        command
            .run_detached(&subject.bundle.dir().join("exec"))
            .ok();
        let image = subject.image("image");
        subject
            .checkpoint(&image, &[])
            .fails(1, &["(sleep)", "from outside"]);
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}
