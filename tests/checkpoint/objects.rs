//! One kernel object after the other.

use black_box_tests::{Bed, bed};

use crate::Subject;

/// Through a checkpoint that leaves it running, then one that ends it, then
/// a restore, a checkpoint of what was restored, and one more restore.
fn survives(bed: &Bed, program: &str) {
    let subject = Subject::new(bed, program);
    subject.start();
    let (first, second, third) = (
        subject.image("first"),
        subject.image("second"),
        subject.image("third"),
    );
    subject.checkpoint(&first, &["--leave-running"]).ok();
    assert_eq!(subject.bundle.status(), "running");
    subject.checkpoint(&second, &[]).ok();
    assert_eq!(subject.bundle.status(), "stopped");
    subject.bundle.delete();
    subject.restore(&second).ok();
    subject.checkpoint(&third, &[]).ok();
    subject.bundle.delete();
    subject.restore(&third).ok();
    assert_eq!(subject.verdict(), "ok", "{program}");
    subject.bundle.wait_stopped();
    subject.bundle.delete();
}

/// The original goes on unharmed, and is none the wiser.
fn goes_on(bed: &Bed, program: &str) {
    let subject = Subject::new(bed, program);
    subject.start();
    let image = subject.image("image");
    subject.checkpoint(&image, &["--leave-running"]).ok();
    assert_eq!(subject.verdict(), "ok", "{program}");
    subject.bundle.wait_stopped();
    subject.bundle.delete();
}

macro_rules! programs {
    ($($name:ident)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn is_restored() {
                bed!(|bed| survives(bed, stringify!($name)));
            }

            #[test]
            fn goes_on_unharmed() {
                bed!(|bed| goes_on(bed, stringify!($name)));
            }
        }
    )*};
}

programs! { dontneed memory threads tree shared pipes signals timers events files identity waiting registers filter unix_streams unix_messages unix_names network }
