//! Limits on what a directory's files take: projects of the file system's
//! quota (XFS and ext4, mounted with `prjquota`).

use std::fs::File;
use std::path::Path;

use sys::{Context as _, Error, ErrorKind, Result};

/// Ids tried before it is given up.
const TRIES: usize = 64;

/// Makes empty directories of one file system a project of their own, whose
/// files may take `bytes` together.
pub(crate) fn limit(directories: &[&Path], bytes: u64) -> Result<()> {
    let act = || format!("set a limit of {bytes} bytes");
    let open = directories
        .iter()
        .map(|directory| File::open(directory).context(act))
        .collect::<Result<Vec<_>>>()?;
    let Some(first) = open.first() else {
        return Ok(());
    };
    for _ in 0..TRIES {
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .context(|| "get a random number")?;
        // The lower half is left to administrators.
        let project = u32::from_ne_bytes(random) | 0x8000_0000;
        if sys::quota::is_used(first, project)
            .map_err(not_supported)
            .context(act)?
        {
            continue;
        }
        sys::quota::set_limit(first, project, bytes)
            .map_err(not_supported)
            .context(act)?;
        for directory in &open {
            sys::quota::set_project(directory, project)
                .map_err(not_supported)
                .context(act)?;
        }
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "no project id of the file system's quota is free",
    ))
}

/// Makes the empty directory `to` part of the project that `from` belongs to,
/// if it belongs to one.
pub(crate) fn inherit(from: &Path, to: &Path) -> Result<()> {
    let act = || format!("limit {} as {} is", to.display(), from.display());
    let project = sys::quota::project(File::open(from).context(act)?).context(act)?;
    if project == 0 {
        return Ok(());
    }
    sys::quota::set_project(File::open(to).context(act)?, project).context(act)
}

/// Takes the limit of a directory's project away. Fine if the directory, or
/// the quota with all limits, is gone.
pub(crate) fn forget(directory: &Path) -> Result<()> {
    let forget = || -> Result<()> {
        let open = File::open(directory)?;
        match sys::quota::project(&open)? {
            0 => Ok(()),
            project => sys::quota::set_limit(&open, project, 0),
        }
    };
    match forget().map_err(not_supported) {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) => {
            Ok(())
        }
        done => done.context(|| format!("take the limit of {} away", directory.display())),
    }
}

fn not_supported(error: Error) -> Error {
    match error.errno() {
        // ESRCH: no quota is on; ENOTTY, EOPNOTSUPP: the file system has
        // none; ENOSYS, ENODEV: the kernel, or what is mounted, has none.
        Some(3 | 19 | 25 | 38 | 95) => Error::new(
            ErrorKind::Unsupported,
            "the file system has no project quota: size needs XFS or ext4 mounted with prjquota",
        ),
        _ => error,
    }
}
