//! Copies the image's content into a new volume.
//!
//! The layers are merged by the kernel: an overlay mount without a place in
//! any namespace, seen by this process alone. Everything in it is hostile:
//! the target is looked up inside the root, and no link is followed.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use state::RootFs;
use sys::overlay::OverlayLayers;
use sys::{Context as _, Result};

use crate::copy::{Copier, Ownership};

/// Copies what the image has at `target` into the empty directory `into`,
/// with the attributes of the directory itself. Nothing if the image has no
/// directory there.
pub(super) fn populate(rootfs: &RootFs, target: &Path, into: &Path) -> Result<()> {
    let root = merged(rootfs).context(|| "merge the image's layers")?;
    let relative = target.strip_prefix("/").unwrap_or(target);
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match sys::path::openat2(&root, relative, flags, Mode::empty(), resolve) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => {
            return Err(errno).context(|| format!("open {} in the image", target.display()));
        }
    };
    let into = rustix::fs::openat(CWD, into, flags, Mode::empty())?;
    Copier::new(into.as_fd(), Ownership::Kept)
        .directory(&source, &into)
        .context(|| format!("copy {} of the image", target.display()))
}

/// The image's layers as one tree, read-only.
fn merged(rootfs: &RootFs) -> Result<OwnedFd> {
    let directory = |path: &PathBuf| -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
    };
    let lower = match rootfs {
        RootFs::Directory(path) => return directory(path),
        RootFs::Overlay(overlay) => &overlay.lower,
    };
    // The kernel wants two layers if none is writable.
    if let [only] = lower.as_slice() {
        return directory(only);
    }
    let layers = lower.iter().map(directory).collect::<Result<Vec<_>>>()?;
    // The mount may change the working directory, which is the whole
    // process's: a thread gets one of its own for it.
    std::thread::scope(|scope| {
        let mount = scope.spawn(|| {
            sys::namespace::own_working_directory()?;
            let layers = OverlayLayers {
                lower: &layers,
                writable: None,
            };
            layers.mount(&|overlay| {
                overlay.mount(
                    MountAttrFlags::MOUNT_ATTR_RDONLY
                        | MountAttrFlags::MOUNT_ATTR_NOSUID
                        | MountAttrFlags::MOUNT_ATTR_NODEV
                        | MountAttrFlags::MOUNT_ATTR_NOEXEC,
                )
            })
        });
        mount
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use state::OverlayRoot;

    use super::*;

    /// Needs root: it mounts an overlay and changes owners.
    #[test]
    fn copies_the_merged_content_and_follows_no_link_out() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let (one, two) = (scratch.path().join("1"), scratch.path().join("2"));
        fs::create_dir_all(one.join("data/sub")).unwrap();
        fs::create_dir_all(two.join("data")).unwrap();
        fs::write(one.join("data/sub/a"), "below").unwrap();
        fs::write(two.join("data/b"), "above").unwrap();
        fs::hard_link(two.join("data/b"), two.join("data/c")).unwrap();
        symlink("/etc/passwd", two.join("data/link")).unwrap();
        symlink("/data", two.join("alias")).unwrap();
        symlink("/../../../../../../etc", two.join("out")).unwrap();
        rustix::fs::chown(
            two.join("data"),
            Some(rustix::fs::Uid::from_raw(70)),
            Some(rustix::fs::Gid::from_raw(71)),
        )
        .unwrap();
        fs::set_permissions(two.join("data"), fs::Permissions::from_mode(0o2750)).unwrap();
        let rootfs = RootFs::Overlay(OverlayRoot {
            lower: vec![two, one],
            upper: PathBuf::new(),
            work: PathBuf::new(),
        });
        let into = scratch.path().join("volume");
        fs::create_dir(&into).unwrap();
        populate(&rootfs, Path::new("/alias"), &into).unwrap();
        assert_eq!(fs::read_to_string(into.join("sub/a")).unwrap(), "below");
        assert_eq!(
            fs::metadata(into.join("b")).unwrap().ino(),
            fs::metadata(into.join("c")).unwrap().ino()
        );
        assert_eq!(
            fs::read_link(into.join("link")).unwrap(),
            Path::new("/etc/passwd")
        );
        let metadata = fs::metadata(&into).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (70, 71));
        assert_eq!(metadata.mode() & 0o7777, 0o2750);
        // There is no /etc in the image, and the host's is not looked at.
        let other = scratch.path().join("other");
        fs::create_dir(&other).unwrap();
        populate(&rootfs, Path::new("/out"), &other).unwrap();
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    }
}
