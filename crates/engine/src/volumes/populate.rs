//! Copies the image's content into a new volume.
//!
//! The layers are merged by the kernel: an overlay mount without a place in
//! any namespace, seen by this process alone. Everything in it is hostile:
//! the target is looked up inside the root, and no link is followed.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps,
    XattrFlags,
};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use state::RootFs;
use sys::overlay::OverlayLayers;
use sys::{Context as _, Result};

/// Deeper trees are not what an image ships as the content of a volume.
const DEPTH_MAX: usize = 256;

/// Copies what the image has at `target` into the empty directory `into`,
/// with the attributes of the directory itself. Nothing if the image has no
/// directory there.
pub(super) fn populate(rootfs: &RootFs, target: &Path, into: &Path) -> Result<()> {
    let root = merged(rootfs).context(|| "merge the image's layers")?;
    let relative = target.strip_prefix("/").unwrap_or(target);
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => {
            return Err(errno).context(|| format!("open {} in the image", target.display()));
        }
    };
    let into = rustix::fs::openat(CWD, into, flags, Mode::empty())?;
    let mut links = HashMap::new();
    copy_directory(&source, &into, &mut links, DEPTH_MAX)
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

/// Where the first name of a file with several was copied to.
type Links = HashMap<(u64, u64), PathBuf>;

fn copy_directory(source: &OwnedFd, into: &OwnedFd, links: &mut Links, depth: usize) -> Result<()> {
    copy_members(source, into, Path::new(""), into.as_fd(), links, depth)?;
    let stat = rustix::fs::fstat(source)?;
    copy_attributes(source.as_fd(), into.as_fd(), &stat)
}

fn copy_members(
    source: &OwnedFd,
    into: &OwnedFd,
    place: &Path,
    top: BorrowedFd<'_>,
    links: &mut Links,
    depth: usize,
) -> Result<()> {
    if depth == 0 {
        return Err(sys::Error::new(
            sys::ErrorKind::InvalidInput,
            "directories are nested too deeply",
        ));
    }
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let path = place.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let key = (stat.st_dev, stat.st_ino);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = links.get(&key) {
                rustix::fs::linkat(top, first, into, name, AtFlags::empty())?;
                continue;
            }
            links.insert(key, path.clone());
        }
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(into, name, Mode::from_raw_mode(0o700))?;
                let (from, to) = (directory(source, name)?, directory(into, name)?);
                copy_members(&from, &to, &path, top, links, depth - 1)?;
                copy_attributes(from.as_fd(), to.as_fd(), &stat)?;
            }
            FileType::RegularFile => {
                let from = file(source, name, OFlags::RDONLY)?;
                let to = file(into, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
                let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
                std::io::copy(&mut from, &mut to)?;
                copy_attributes(from.as_fd(), to.as_fd(), &stat)?;
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(source, name, Vec::new())?;
                rustix::fs::symlinkat(&*link, into, name)?;
                chown(into, name, &stat)?;
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(into, name, kind, mode, stat.st_rdev)?;
                chown(into, name, &stat)?;
                rustix::fs::chmodat(into, name, mode, AtFlags::empty())?;
            }
        }
    }
    Ok(())
}

fn directory(at: &OwnedFd, name: &std::ffi::CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn file(at: &OwnedFd, name: &std::ffi::CStr, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        at,
        name,
        flags,
        Mode::from_raw_mode(0o600),
    )?)
}

fn chown(at: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<()> {
    let (user, group) = owner(stat);
    Ok(rustix::fs::chownat(
        at,
        name,
        user,
        group,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn owner(stat: &Stat) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    )
}

/// Owner first: changing it drops the set-id bits.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    let (user, group) = owner(stat);
    rustix::fs::fchown(to, user, group)?;
    let mode: RawMode = stat.st_mode & 0o7777;
    rustix::fs::fchmod(to, Mode::from_raw_mode(mode))?;
    copy_xattrs(from, to)?;
    let time = |seconds: i64, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanos).unwrap_or_default(),
    };
    rustix::fs::futimens(
        to,
        &Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        },
    )?;
    Ok(())
}

/// All but overlayfs' own, where both sides have them.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let mut value = vec![0u8; 64 << 10];
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let size = rustix::fs::fgetxattr(from, name, &mut value)?;
        match rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
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
