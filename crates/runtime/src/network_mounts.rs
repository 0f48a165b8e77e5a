//! File systems of other hosts.
//!
//! They are reached over the network of who mounts them. That is the host's,
//! as for Docker's volumes: a container may have no network, and one that it
//! has may not be up yet when its mounts are made.

use std::os::fd::OwnedFd;

use sys::spent::Spent;
use sys::{Context as _, Result};

use crate::mounts::plan::What;
use crate::mounts::step::FileSystemPlan;
use crate::sandbox::Sandbox;

/// Kinds whose server is elsewhere.
const KINDS: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "ceph"];

/// Makes detached mounts of those that `sandbox` has, in our network namespace,
/// each with its number among the mounts.
pub(crate) fn open(sandbox: &Sandbox<'_>) -> Result<Vec<(usize, OwnedFd)>> {
    let mut opened = Vec::new();
    for (index, plan) in sandbox.mounts.iter().enumerate() {
        let What::FileSystem {
            kind,
            source,
            options,
        } = &plan.what
        else {
            continue;
        };
        if !KINDS.contains(&kind.as_str()) {
            continue;
        }
        let of = FileSystemPlan {
            kind,
            source: source.as_deref(),
            options,
        };
        let mount = of
            .mount(plan, sandbox.mount_label, &mut Spent::default())
            .context(|| format!("mount {}", plan.destination.display()))?;
        opened.push((index, mount));
    }
    Ok(opened)
}
