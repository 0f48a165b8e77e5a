//! What users run, of this machine's Debian packages, kept busy by a client all the while (`servers.py`).

use std::fs;
use std::os::unix::fs::symlink;

use black_box_tests::{Bed, Bundle, bed};

use crate::Subject;

/// A container with the machine's `/usr` and `/etc`, in which the server and its client are.
fn subject<'a>(bed: &'a Bed, name: &str) -> Subject<'a> {
    let mut bundle = Bundle::new(bed, &["/usr/bin/python3", "/data/servers.py", name]);
    bundle.mount("/usr", "bind", "/usr", &["rbind", "ro"]);
    bundle.mount("/etc", "bind", "/etc", &["rbind", "ro"]);
    for place in ["/tmp", "/dev/shm", "/run", "/var"] {
        bundle.mount(place, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]);
    }
    *bundle.at("/process/env") = serde_json::json!(["PATH=/usr/bin:/usr/sbin", "LC_ALL=C"]);
    for name in ["lib", "lib64"] {
        symlink(format!("usr/{name}"), bundle.root().join(name)).unwrap();
    }
    fs::create_dir(bundle.root().join("usr")).unwrap();
    let subject = Subject::of(bundle);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/checkpoint/servers.py");
    fs::copy(script, subject.data("servers.py")).unwrap();
    subject
}

/// Goes through a checkpoint that leaves it running, one that ends it, and a second life that is ended and restored once more.
fn survives(bed: &Bed, name: &str) {
    let subject = subject(bed, name);
    subject.start();
    let options = ["--tcp-established"];
    let (first, second, third) = (
        subject.image("first"),
        subject.image("second"),
        subject.image("third"),
    );
    subject
        .checkpoint(&first, &["--tcp-established", "--leave-running"])
        .ok();
    subject.checkpoint(&second, &options).ok();
    assert_eq!(subject.bundle.status(), "stopped");
    subject.bundle.delete();
    subject.restore(&second).ok();
    subject.checkpoint(&third, &options).ok();
    subject.bundle.delete();
    subject.restore(&third).ok();
    assert_eq!(subject.verdict(), "ok", "{name}");
    subject.bundle.wait_stopped();
    subject.bundle.delete();
}

#[test]
fn one_with_io_uring_is_refused_and_goes_on() {
    bed!(|bed| {
        let subject = subject(bed, "mariadb_uring");
        subject.start();
        let image = subject.image("image");
        subject
            .checkpoint(&image, &["--tcp-established"])
            .fails(1, &["uses io_uring", "innodb_use_native_aio=0"]);
        assert!(!fs::exists(&image).unwrap(), "half an image stays");
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

macro_rules! servers {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            bed!(|bed| survives(bed, stringify!($name)));
        }
    )*};
}

servers! { redis postgres nginx python node mariadb jvm go }
