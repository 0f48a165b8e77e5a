//! What this runtime knows of the specification, for `features`
//! (features-linux.md): taken from the tables that it works with, so that it
//! cannot claim anything else.

use sys::scheduling::{MEMORY_FLAGS, MEMORY_MODES};

use crate::mounts::plan::{ATTRIBUTES, OTHER_OPTIONS, PROPAGATIONS};
use crate::{hooks, sandbox, seccomp};

/// Kinds of hooks, in the order in which they run.
pub fn hooks() -> Vec<&'static str> {
    hooks::KINDS.to_vec()
}

/// Mount options that the runtime itself understands; others go to the file
/// system.
pub fn mount_options() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| *name);
    let propagations = PROPAGATIONS.iter().map(|(name, _)| *name);
    let recursive = attributes.clone().chain(propagations.clone());
    let mut all: Vec<String> = recursive.map(|name| format!("r{name}")).collect();
    let plain = attributes.chain(propagations).chain(OTHER_OPTIONS);
    all.extend(plain.map(str::to_owned));
    all.sort();
    all
}

/// Kinds of namespaces.
pub fn namespaces() -> Vec<&'static str> {
    sandbox::KINDS.iter().map(|(_, name, ..)| *name).collect()
}

/// `SCMP_ACT_*`.
pub fn seccomp_actions() -> Vec<&'static str> {
    seccomp::ACTIONS.iter().map(|(name, _)| *name).collect()
}

/// `SCMP_CMP_*`.
pub fn seccomp_operators() -> Vec<&'static str> {
    seccomp::OPERATORS.to_vec()
}

/// `SCMP_ARCH_*` that can be told apart on this machine.
pub fn seccomp_architectures() -> Vec<&'static str> {
    seccomp::ENFORCED.to_vec()
}

/// `SECCOMP_FILTER_FLAG_*`.
pub fn seccomp_flags() -> Vec<&'static str> {
    seccomp::FLAGS.iter().map(|(name, _)| *name).collect()
}

/// `MPOL_*` modes of `linux.memoryPolicy`.
pub fn memory_modes() -> Vec<&'static str> {
    MEMORY_MODES.iter().map(|(name, _)| *name).collect()
}

/// `MPOL_F_*`.
pub fn memory_flags() -> Vec<&'static str> {
    MEMORY_FLAGS.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_told_is_one_that_is_understood() {
        let options = mount_options();
        for option in [
            "ro",
            "rro",
            "rbind",
            "rprivate",
            "ridmap",
            "tmpcopyup",
            "rrelatime",
        ] {
            assert!(options.iter().any(|known| known == option), "{option}");
        }
        assert!(
            options.windows(2).all(|pair| pair[0] < pair[1]),
            "{options:?}"
        );
    }
}
