//! Checkpoint and restore by `wharf-runtime`: programs that set something up, are taken through it, and judge themselves
//! (`programs.c` and its kin, one function per kernel object); what is refused; images that lie.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod images;
mod objects;
mod parents;
mod pauses;
mod refused;
mod servers;
mod terminals;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use black_box_tests::{Bed, Bundle, Outcome, eventually, programs};

/// A container that runs one of the programs.
pub struct Subject<'a> {
    pub bundle: Bundle<'a>,
}

impl<'a> Subject<'a> {
    pub fn new(bed: &'a Bed, program: &str) -> Self {
        let mut bundle = Bundle::new(bed, &["/bin/programs", program]);
        bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]);
        programs::compile(bed, &bundle.root().join("bin/programs"));
        Self::of(bundle)
    }

    /// Of a bundle whose program keeps to the same protocol.
    pub fn of(bundle: Bundle<'a>) -> Self {
        let data = bundle.root().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        Self { bundle }
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.bundle.root().join("data").join(name)
    }

    pub fn image(&self, name: &str) -> String {
        self.bundle.dir().join(name).to_str().unwrap().to_owned()
    }

    /// Runs it until it has set everything up.
    pub fn start(&self) {
        let dir = self.bundle.dir().to_str().unwrap();
        let arguments = ["run", "--detach", "--bundle", dir, self.bundle.id()];
        let mut command = self.bundle.command(&arguments);
        command.run_detached(&self.bundle.dir().join("stdio")).ok();
        eventually(30, "the program to be ready", || {
            let verdict = fs::read_to_string(self.data("verdict"));
            assert!(verdict.is_err(), "{verdict:?}");
            self.data("ready").exists().then_some(())
        });
    }

    pub fn checkpoint(&self, image: &str, options: &[&str]) -> Outcome {
        let mut arguments = vec!["checkpoint", "--image-path", image];
        arguments.extend(options);
        arguments.push(self.bundle.id());
        self.bundle.runtime(&arguments)
    }

    pub fn restore(&self, image: &str) -> Outcome {
        let dir = self.bundle.dir().to_str().unwrap();
        let id = self.bundle.id();
        let arguments = [
            "restore",
            "--detach",
            "--bundle",
            dir,
            "--image-path",
            image,
            id,
        ];
        let mut command = self.bundle.command(&arguments);
        command.run_detached(&self.bundle.dir().join("stdio"))
    }

    /// Lets the program look at what it has and say what it thinks of it.
    pub fn verdict(&self) -> String {
        fs::write(self.data("go"), "").unwrap();
        let verdict = eventually(30, "the verdict", || {
            fs::read_to_string(self.data("verdict")).ok()
        });
        fs::remove_file(self.data("verdict")).unwrap();
        fs::remove_file(self.data("go")).unwrap();
        verdict
    }
}
