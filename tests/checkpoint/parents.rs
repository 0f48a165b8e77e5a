//! Checkpoints that stand on others: only what differs is stored, and a parent that is another one is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use black_box_tests::{bed, eventually};
use serde_json::Value;

use crate::Subject;

const PAGE: usize = 4096;
/// Pages of each kind of memory that `revised` has, and of how many one is changed.
const KINDS: [(u64, u64); 5] = [(4096, 97), (1024, 31), (256, 17), (256, 19), (256, 23)];
/// … and in its child.
const CHILD: (u64, u64) = (4096, 89);

/// Pages in a file that say that they belong to the program, by their kind, and all that there are.
fn tagged(file: &Path) -> ([u64; 5], u64) {
    let bytes = fs::read(file).unwrap();
    let mut found = [0; 5];
    for page in bytes.chunks(PAGE) {
        if page.starts_with(b"WHARFTAG") {
            found[usize::from(page[8])] += 1;
        }
    }
    (found, (bytes.len() / PAGE) as u64)
}

/// How many pages of a kind the program changes at that time, zeros not counted.
fn changed((pages, every): (u64, u64), generation: u64) -> u64 {
    (0..pages).filter(|page| page % every == generation).count() as u64
}

fn change(subject: &Subject<'_>, generation: u64) {
    fs::write(subject.data(&format!("change-{generation}")), "").unwrap();
    for who in ["parent", "child"] {
        let done = subject.data(&format!("changed-{generation}-{who}"));
        eventually(30, "memory to change", || done.exists().then_some(()));
    }
}

#[test]
fn only_what_differs_is_stored() {
    bed!(|bed| {
        let subject = Subject::new(bed, "revised");
        subject.start();
        let images = ["first", "second", "third"].map(|name| subject.image(name));
        subject.checkpoint(&images[0], &["--pre-dump"]).ok();
        // It goes on.
        change(&subject, 1);
        let options = [
            "--leave-running",
            "--parent-path",
            "../first",
            "--work-path",
            &images[1],
        ];
        subject.checkpoint(&images[1], &options).ok();
        change(&subject, 2);
        let options = ["--parent-path", "../second", "--work-path", &images[2]];
        subject.checkpoint(&images[2], &options).ok();
        subject.bundle.delete();

        let (first, _) = tagged(&Path::new(&images[0]).join("pages"));
        let mut whole = KINDS.map(|(pages, _)| pages);
        whole[0] += CHILD.0;
        assert_eq!(first, whole);
        for (image, generation) in [(&images[1], 1), (&images[2], 2)] {
            let image = Path::new(image);
            assert!(!image.join("pages").exists());
            let (found, all) = tagged(&image.join("changed"));
            let mut expected = KINDS.map(|kind| changed(kind, generation));
            expected[0] += changed(CHILD, generation);
            assert_eq!(found, expected);
            // Stacks, and what the C library keeps for itself.
            let more = all - found.iter().sum::<u64>();
            assert!(more < 40, "{more}");
            let said: Value =
                serde_json::from_slice(&fs::read(image.join("dump.json")).unwrap()).unwrap();
            assert_eq!(said["bytes"].as_u64().unwrap(), all * PAGE as u64);
            let rest = whole.iter().sum::<u64>() - found.iter().sum::<u64>() - 2 * generation;
            let shared = said["pages_of_parent"].as_u64().unwrap();
            assert!(shared >= rest && shared < rest + 100, "{shared} {rest}");
        }

        // Each of them can be gone on from; the program catches up.
        for image in &images {
            subject.restore(image).ok();
            assert_eq!(subject.verdict(), "ok", "{image}");
            subject.bundle.wait_stopped();
            subject.bundle.delete();
        }
        // And from elsewhere, together.
        for (name, image) in ["first", "second", "third"].iter().zip(&images) {
            let away = subject.bundle.dir().join("away");
            fs::create_dir_all(&away).unwrap();
            fs::rename(image, away.join(name)).unwrap();
        }
        subject.restore(&subject.image("away/third")).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

#[test]
fn a_parent_that_is_another_one_is_refused() {
    bed!(|bed| {
        let subject = Subject::new(bed, "pipes");
        subject.start();
        let path = |name: &str| subject.bundle.dir().join(name);
        let [first, second] = ["first", "second"].map(|name| subject.image(name));
        subject.checkpoint(&first, &["--pre-dump"]).ok();
        for (parent, words) in [
            (first.as_str(), "has to be relative to --image-path"),
            ("../nothing", "--parent-path ../nothing: open "),
            ("../rootfs", "--parent-path ../rootfs"),
        ] {
            subject
                .checkpoint(&second, &["--parent-path", parent])
                .fails(1, &[words]);
            assert!(!path("second").exists());
        }
        subject
            .checkpoint(&first, &["--parent-path", "."])
            .fails(1, &["would be written over it"]);
        let options = ["--leave-running", "--parent-path", "../first"];
        subject.checkpoint(&second, &options).ok();
        assert!(path("second/changed").exists());
        subject
            .checkpoint(&first, &["--parent-path", "../second"])
            .fails(1, &["would be written over it"]);
        subject.checkpoint(&subject.image("other"), &[]).ok();
        subject.bundle.delete();

        let refused = |words: &str| {
            assert_eq!(subject.restore(&second).status.code(), Some(1));
            let said = fs::read_to_string(path("stdio")).unwrap();
            assert!(said.contains(words), "{words:?} is not in {said:?}");
            fs::write(path("stdio"), "").unwrap();
        };
        let link = path("second/parent");
        let lead_to = |to: &str| {
            fs::remove_file(&link).unwrap();
            symlink(to, &link).unwrap();
        };
        for (to, words) in [
            ("../other", "parent: it is another one than it was"),
            (".", "parent: it is another one than it was"),
            ("../nothing", "open ../nothing"),
            (first.as_str(), "its link is not relative"),
        ] {
            lead_to(to);
            refused(words);
        }
        fs::remove_file(&link).unwrap();
        refused("read its link");
        symlink("../first", &link).unwrap();
        // Of another size.
        let pages = fs::read(path("first/pages")).unwrap();
        fs::write(path("first/pages"), &pages[..pages.len() - PAGE]).unwrap();
        refused("it has more or fewer pages than it had");
        fs::write(path("first/pages"), &pages).unwrap();
        subject.restore(&second).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}

/// The kernel bounds what a process may have open, and whoever wrote an image is anybody.
#[test]
fn chains_end_somewhere() {
    bed!(|bed| {
        let subject = Subject::new(bed, "pipes");
        subject.start();
        subject
            .checkpoint(&subject.image("0"), &["--pre-dump"])
            .ok();
        for number in 1..32 {
            let parent = format!("../{}", number - 1);
            let options = ["--pre-dump", "--parent-path", &parent];
            subject
                .checkpoint(&subject.image(&number.to_string()), &options)
                .ok();
        }
        let one_more = ["--parent-path", "../31"];
        subject
            .checkpoint(&subject.image("32"), &one_more)
            .fails(1, &["it stands on 31 others, and more cannot be"]);
        subject.checkpoint(&subject.image("last"), &[]).ok();
        subject.bundle.delete();
        subject.restore(&subject.image("31")).ok();
        assert_eq!(subject.verdict(), "ok");
        subject.bundle.wait_stopped();
        subject.bundle.delete();
    });
}
