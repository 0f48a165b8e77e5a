//! Docker's spellings of options become typed values here and nowhere else:
//! the command line and the API server share these parsers.
//!
//! Types of this project with one spelling have [`std::str::FromStr`]
//! instead ([`state::PortRequest`], [`crate::NetworkRequest`], …). Nothing
//! here touches the file system or the environment: what a parser needs of
//! them it gets as an argument.

mod filter;
mod mounts;
mod quantity;
mod seccomp;
mod settings;
mod signal;

pub(crate) use filter::Filter;
pub(crate) use mounts::is_volume_name;
pub use mounts::{mount, tmpfs, volume};
pub use quantity::{bytes, cpus, duration, seconds, swap, time};
pub use seccomp::{DockerSeccomp, seccomp_profile};
pub use settings::{
    SecurityOption, cgroup, device, env, env_file, expose, extra_host, label, link, network_alias,
    network_rate, restart, security_option, sysctl, ulimit,
};
pub use signal::{signal, signal_name};

use sys::{Error, ErrorKind};

/// `invalid <what> "<text>": <why>`.
fn invalid(what: &str, text: &str, why: impl AsRef<str>) -> Error {
    let shown: String = text.chars().take(120).collect();
    Error::new(
        ErrorKind::InvalidInput,
        format!("invalid {what} {shown:?}: {}", why.as_ref()),
    )
}
