//! The container's /dev: default devices, links, and what the specification
//! adds (config-linux.md, "Devices" and "Default Devices").

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, major, makedev, minor, mknodat,
    openat, statat, symlinkat,
};
use rustix::io::Errno;
use spec::runtime::Device;
use sys::mount::{Depth, attach, copy_tree};
use sys::{Context as _, Error, ErrorKind, Result};

use super::root::{Root, Shape};

const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// How nodes come to be.
#[derive(Debug)]
pub(crate) enum Source {
    /// mknod(2).
    Made,
    /// Bound from the host's, where a user namespace forbids mknod: name in
    /// /dev and descriptor.
    Bound(Vec<(PathBuf, OwnedFd)>),
}

/// Opens the host's nodes, while they are in sight.
pub(crate) fn open_host_nodes(devices: &[Device]) -> Result<Source> {
    let default = DEFAULT
        .iter()
        .map(|(name, ..)| Path::new("/dev").join(name));
    // A FIFO is nobody's device and is made.
    let asked = devices.iter().filter(|device| device.kind != "p");
    let asked = asked.map(|device| device.path.clone());
    let mut nodes = Vec::new();
    for path in default.chain(asked) {
        let fd = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {}", path.display()))?;
        nodes.push((path, fd));
    }
    Ok(Source::Bound(nodes))
}

/// What cannot be had for a node that is the host's, in words.
pub(crate) fn warnings(devices: &[Device], source: &Source) -> Vec<String> {
    let Source::Bound(_) = source else {
        return Vec::new();
    };
    let changes = |device: &&Device| {
        device.kind != "p"
            && (device.file_mode.is_some() || device.uid.is_some() || device.gid.is_some())
    };
    let warning = |device: &Device| {
        format!(
            "linux.devices ({}): in a user namespace it is the host's node, with the mode and owner \
             that it has there",
            device.path.display()
        )
    };
    devices.iter().filter(changes).map(warning).collect()
}

/// Devices that a /dev from outside, which is used as it is, does not have.
pub(crate) fn missing(root: &Root, devices: &[Device]) -> Vec<String> {
    let is_missing = |device: &&Device| root.open(&device.path, OFlags::PATH).is_err();
    let warning = |device: &Device| {
        format!(
            "linux.devices ({}): /dev is bound from outside and does not have it",
            device.path.display()
        )
    };
    devices.iter().filter(is_missing).map(warning).collect()
}

/// Fills /dev. With a file system of our own there nobody interferes; in the
/// image's own /dev nothing is followed and nothing overwritten. Gives the
/// directory, which is done with.
pub(crate) fn populate(root: &Root, devices: &[Device], source: &Source) -> Result<OwnedFd> {
    let fill = || -> Result<OwnedFd> {
        let dev = root.plain_mount_point(Path::new("/dev"))?;
        for (name, major, minor) in DEFAULT {
            let path = Path::new("/dev").join(name);
            if !devices.iter().any(|device| device.path == path) {
                let node = Node {
                    kind: FileType::CharacterDevice,
                    major,
                    minor,
                    mode: 0o666,
                    owner: (0, 0),
                };
                node.place(&dev, name, &path, source)?;
            }
        }
        for (name, target) in LINKS {
            match symlinkat(target, &dev, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(dev)
    };
    let dev = fill().context(|| "make the devices of /dev")?;
    // A privileged container is given all of the host's: its own terminals
    // stay where the link to them leads.
    let own = |device: &&Device| device.path == Path::new("/dev/ptmx");
    for device in devices.iter().filter(|device| !own(device)) {
        add(root, device, source).context(|| format!("make device {}", device.path.display()))?;
    }
    Ok(dev)
}

fn add(root: &Root, device: &Device, source: &Source) -> Result<()> {
    let invalid = |what: &str| Error::new(ErrorKind::InvalidInput, what);
    let path = super::plan::normalise(&device.path)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(invalid("it has no name"));
    };
    let node = Node {
        kind: match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => return Err(invalid("its type is none of c, u, b, p")),
        },
        major: u32::try_from(device.major).map_err(|_| invalid("major number out of range"))?,
        minor: u32::try_from(device.minor).map_err(|_| invalid("minor number out of range"))?,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
    };
    let directory = root.mount_point(parent, Shape::Directory)?;
    let name = name
        .to_str()
        .ok_or_else(|| invalid("its name is not text"))?;
    node.place(&directory, name, &device.path, source)
}

struct Node {
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
    owner: (u32, u32),
}

impl Node {
    fn place(&self, directory: &OwnedFd, name: &str, path: &Path, source: &Source) -> Result<()> {
        match source {
            Source::Made => self.make(directory, name),
            Source::Bound(_) if self.kind == FileType::Fifo => self.make(directory, name),
            Source::Bound(nodes) => {
                let (_, node) = nodes
                    .iter()
                    .find(|(known, _)| known == path)
                    .ok_or_else(|| Error::new(ErrorKind::Internal, "node was not opened"))?;
                self.check(node)?;
                let place = place_for_node(directory, name)?;
                attach(copy_tree(node.as_fd(), Depth::One)?.as_fd(), place.as_fd())
            }
        }
    }

    fn make(&self, directory: &OwnedFd, name: &str) -> Result<()> {
        let device = makedev(self.major, self.minor);
        match mknodat(directory, name, self.kind, Mode::from(self.mode), device) {
            Ok(()) => {
                if self.owner != (0, 0) {
                    let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    chownat(directory, name, Some(uid), Some(gid), flags)?;
                }
                Ok(())
            }
            // The image brought it: it has to be what it should be.
            Err(Errno::EXIST) => {
                let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                self.check_stat(&stat, name)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn check(&self, fd: &OwnedFd) -> Result<()> {
        self.check_stat(&fstat(fd)?, "the host's node")
    }

    fn check_stat(&self, stat: &rustix::fs::Stat, name: &str) -> Result<()> {
        let same_number = self.kind == FileType::Fifo
            || (major(stat.st_rdev), minor(stat.st_rdev)) == (self.major, self.minor);
        if FileType::from_raw_mode(stat.st_mode) == self.kind && same_number {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{name} exists and is another file"),
        ))
    }
}

/// An empty file to put a bound node on; never a symlink.
pub(crate) fn place_for_node(directory: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::from(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(directory, name, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(fstat(&place)?.st_mode);
    if matches!(kind, FileType::Symlink | FileType::Directory) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{name} exists and is another file"),
        ));
    }
    Ok(place)
}
