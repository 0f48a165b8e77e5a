//! A store on a file system of its own, beside the bed's.

use std::path::PathBuf;

use crate::{Bed, Outcome, binary, eventually};

/// A file with a file system, mounted as the root of a store.
pub struct Store<'a> {
    bed: &'a Bed,
    root: PathBuf,
    runroot: PathBuf,
}

impl<'a> Store<'a> {
    /// `mkfs` is a command that makes a file system in a file, which is its last argument.
    ///
    /// # Panics
    ///
    /// If that fails, or the file cannot be mounted.
    pub fn on(bed: &'a Bed, size: &str, mkfs: &[&str]) -> Self {
        let path = |name: &str| bed.dir().join(name);
        let (disk, root) = (path("disk"), path("store"));
        std::fs::create_dir(&root).expect("a directory for the store");
        let disk = disk.to_str().unwrap_or_default();
        bed.host("truncate", &["-s", size, disk]).ok();
        bed.host(mkfs[0], &[&mkfs[1..], &[disk]].concat()).ok();
        let store = Self {
            bed,
            root,
            runroot: path("store-run"),
        };
        bed.host("mount", &["-o", "loop", disk, store.root()]).ok();
        store
    }

    fn root(&self) -> &str {
        self.root.to_str().unwrap_or_default()
    }

    /// `wharf` on this store.
    pub fn run(&self, words: &[&str]) -> Outcome {
        let runroot = self.runroot.to_str().unwrap_or_default();
        let words = [&["--root", self.root(), "--runroot", runroot], words].concat();
        let program = binary("wharf");
        self.bed.host(program.to_str().unwrap_or_default(), &words)
    }

    /// The bed's image.
    pub fn load_busybox(&self) -> Outcome {
        let archive = self.bed.dir().join("busybox.tar");
        self.run(&["load", "-q", "-i", archive.to_str().unwrap_or_default()])
    }

    /// Mounts it with other options (`ro`, `rw`).
    pub fn remount(&self, options: &str) {
        // Of this mount, and once the kernel let go of what containers wrote.
        let options = format!("remount,bind,{options}");
        eventually(10, "nobody to write to the store", || {
            let remounted = self.bed.host("mount", &["-o", &options, self.root()]);
            remounted.status.success().then_some(())
        });
    }

    /// Everything in it goes, and so does the mount.
    pub fn remove(self) {
        self.run(&["system", "reset", "-f"]).ok();
        // The kernel takes its time for what containers had of it.
        eventually(10, "nobody to use the store", || {
            let unmounted = self.bed.host("umount", &[self.root()]);
            unmounted.status.success().then_some(())
        });
    }
}
