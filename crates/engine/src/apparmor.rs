//! AppArmor: which profile a container runs under, on a host where it is
//! active.
//!
//! The engine's own profile is told to the kernel by AppArmor's parser when
//! the first container needs it; a reboot forgets it. Where there is no parser,
//! or we are not root, containers run without a profile, as those of Docker do, and `info` says so.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use state::{AppArmorProfile, Confinement};
use sys::{Context as _, Error, ErrorKind, Result};

/// The name of the engine's own profile.
const OWN: &str = "wharf-default";
const OWN_TEXT: &str = include_str!("apparmor/wharf-default");
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// A line for each profile: its name and, in brackets, its mode.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// Not looked for in `PATH`, which is the caller's.
const PARSERS: [&str; 2] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"];

/// The profile that a container runs under, loaded; none where AppArmor is not
/// active, or there is nothing to load the engine's own with.
pub(crate) fn prepare(confinement: &Confinement) -> Result<Option<String>> {
    let active = is_active();
    match &confinement.apparmor {
        AppArmorProfile::Named(name) if !active => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "AppArmor profile {name}: AppArmor is not active on this host; leave \
                 --security-opt apparmor={name} out"
            ),
        )),
        AppArmorProfile::Named(name) if !may_look() || is_loaded(name) => Ok(Some(name.clone())),
        AppArmorProfile::Named(name) => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "AppArmor profile {name} is not loaded: load it with apparmor_parser -r FILE, or \
                 leave --security-opt apparmor={name} out"
            ),
        )),
        AppArmorProfile::Default if active && !confinement.privileged => {
            Ok(load_own()?.then(|| OWN.to_owned()))
        }
        AppArmorProfile::Default | AppArmorProfile::Unconfined => Ok(None),
    }
}

/// The profile of a container that runs, in words as Docker's `inspect` has
/// them.
pub(crate) fn shown(confinement: &Confinement) -> String {
    match &confinement.apparmor {
        _ if !is_active() => String::new(),
        AppArmorProfile::Named(name) => name.clone(),
        AppArmorProfile::Default if !confinement.privileged && is_loaded(OWN) => OWN.to_owned(),
        AppArmorProfile::Default | AppArmorProfile::Unconfined => "unconfined".to_owned(),
    }
}

/// Whether AppArmor is active.
pub(crate) fn is_active() -> bool {
    fs::read(ENABLED).is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Why containers run without a profile although AppArmor is active.
pub(crate) fn warning() -> Option<String> {
    let missing = match () {
        () if !is_active() || is_loaded(OWN) => return None,
        () if !may_look() => "securityfs is not mounted on /sys/kernel/security",
        () if parser().is_none() => "there is no apparmor_parser (package apparmor)",
        () => return None,
    };
    Some(format!(
        "AppArmor is active, but {missing}: containers run without a profile"
    ))
}

/// Loads the engine's own profile if it is not; whether it is there then.
fn load_own() -> Result<bool> {
    if is_loaded(OWN) {
        return Ok(true);
    }
    let Some(parser) = parser().filter(|_| may_look()) else {
        return Ok(false);
    };
    let named = || format!("load AppArmor profile {OWN} with {parser}");
    let mut child = Command::new(parser)
        // Several at a time replace it with the same.
        .args(["--replace", "--skip-cache"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context(named)?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it says is more than that it stopped reading.
        let _ = stdin.write_all(OWN_TEXT.as_bytes());
    }
    let output = child.wait_with_output().context(named)?;
    if output.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().unwrap_or("it failed");
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{}: {said}", named()),
    ))
}

fn parser() -> Option<&'static str> {
    PARSERS.into_iter().find(|path| Path::new(path).exists())
}

/// Whether the list of profiles can be read: it is for root, and where
/// securityfs is mounted.
fn may_look() -> bool {
    fs::File::open(LOADED).is_ok()
}

fn is_loaded(name: &str) -> bool {
    fs::read_to_string(LOADED).is_ok_and(|text| lists(&text, name))
}

fn lists(text: &str, name: &str) -> bool {
    text.lines()
        .filter_map(|line| line.rsplit_once(" ("))
        .any(|(profile, _)| profile == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_their_whole_name() {
        let text =
            "docker-default (enforce)\n/usr/bin/man//filter (complain)\nwharf-default (enforce)\n";
        for name in ["docker-default", "/usr/bin/man//filter", OWN] {
            assert!(lists(text, name), "{name}");
        }
        for name in ["docker", "wharf-default (enforce)", "", "default"] {
            assert!(!lists(text, name), "{name}");
        }
        assert!(OWN_TEXT.contains(&format!("\nprofile {OWN} ")));
    }
}
