//! `wharf-runtime` under the engines that people run: each does with it what it does with runc.
//!
//! The engines are Debian's own, driven by their own command lines in one shell script each, for that is how their
//! users drive them. Each has network, mount and process namespaces of its own inside the test's.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use black_box_tests::{Bed, ImageBuilder, Invocation, bed, binary};

/// Runs the engine's script; it gives up at the first thing that is not as it should be, and says what.
#[track_caller]
fn drive(bed: &Bed, script: &str) {
    let image = ImageBuilder::busybox().docker_archive("docker.io/library/busybox:1");
    let image = bed.file("image.tar", image);
    let checks = include_str!("checks.sh");
    let script = bed.file("script", format!("{checks}\n{script}"));
    let outcome = Invocation::new("unshare".as_ref())
        .arguments(&[
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arguments(&["bash", &script, binary("wharf-runtime").to_str().unwrap()])
        .arguments(&[bed.dir().to_str().unwrap(), &image])
        .limit(200)
        .run();
    let said = outcome.text();
    assert!(
        outcome.status.success() && said.ends_with("all as it should be\n"),
        "{}",
        outcome.story()
    );
}

#[test]
fn podman() {
    bed!(|bed| drive(bed, include_str!("podman.sh")));
}

#[test]
fn buildah() {
    bed!(|bed| drive(bed, include_str!("buildah.sh")));
}

#[test]
fn containerd() {
    bed!(|bed| drive(bed, include_str!("containerd.sh")));
}

#[test]
fn docker_and_swarm() {
    bed!(|bed| drive(bed, include_str!("docker.sh")));
}
