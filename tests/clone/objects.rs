//! One kernel object after the other, through a clone and a warm image: the program that set it up judges what it has.

use std::fs;

use black_box_tests::{Bed, ImageBuilder, Tar, bed, eventually, programs};

use crate::{judged, templates};

/// Runs a program of the image, or what became of it.
fn run(bed: &Bed, name: &str, image_and_command: &[&str]) {
    let options = [
        "run",
        "-d",
        "--network=none",
        "--name",
        name,
        "--volume=/data",
        "--tmpfs=/tmp:mode=1777",
    ];
    let started = bed.run(&[&options[..], image_and_command].concat());
    started.ok();
    assert_eq!(String::from_utf8_lossy(&started.stderr), "", "{name}");
}

/// The original, its clone, and a container of a warm image that was made of the clone.
fn survives(bed: &Bed, program: &str) {
    let binary = bed.dir().join("programs");
    programs::compile(bed, &binary);
    let tar = Tar::new().directory("data", 0o777);
    let tar = tar.file("bin/programs", 0o755, fs::read(&binary).unwrap());
    let archive = ImageBuilder::busybox().tar(tar).docker_archive("programs");
    bed.run(&["load", "-q", "-i", &bed.file("programs.tar", archive)])
        .ok();
    run(bed, "one", &["programs", "/bin/programs", program]);
    // Nothing is executed inside: one of them watches what its programs do.
    eventually(30, "the program to be ready", || {
        let ready = bed.run(&["cp", "one:/data/ready", "-"]);
        ready.status.success().then_some(())
    });
    bed.run(&["clone", "--name", "two", "one"]).ok();
    bed.run(&["commit", "--memory", "two", "warm"]).ok();
    run(bed, "three", &["warm"]);
    judged(bed, &["three", "one", "two"]);
    bed.run(&["rm", "-v", "one", "two", "three"]).ok();
    assert_eq!(templates(bed), 0);
}

macro_rules! programs {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            bed!(|bed| survives(bed, stringify!($name)));
        }
    )*};
}

programs! { dontneed written shared_written memory generations heap threads tree shared pipes signals timers events files identity waiting registers filter unix_streams unix_messages unix_names network connected memory_files semaphores queues named_pipes terminals watching aio unattached odd_memory }
