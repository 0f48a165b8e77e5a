//! Seccomp profiles in Docker's form: OCI's, with rules that depend on the
//! processor, the capabilities and the kernel.

use serde::Deserialize;
use spec::runtime::{Seccomp, SeccompArg, SyscallRule};
use sys::{Error, ErrorKind, Result};

/// A profile file as Docker reads it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerSeccomp {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SeccompArg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Reads a profile (`--security-opt seccomp=FILE`).
pub fn seccomp_profile(json: &[u8]) -> Result<DockerSeccomp> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("invalid seccomp profile: {error}"),
        )
    })
}

impl DockerSeccomp {
    /// The rules that apply with these capabilities (`CAP_CHOWN`) on this
    /// processor. The kernel is at least 6.1, above every `minKernel` known.
    pub(crate) fn for_capabilities(&self, capabilities: &[String]) -> Seccomp {
        let (go_name, scmp_name) = match std::env::consts::ARCH {
            "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
            _ => ("amd64", "SCMP_ARCH_X86_64"),
        };
        let mut architectures = self.architectures.clone();
        if let Some(map) = self
            .arch_map
            .iter()
            .find(|map| map.architecture == scmp_name)
        {
            architectures.push(map.architecture.clone());
            architectures.extend(map.sub_architectures.iter().flatten().cloned());
        }
        let has = |capability: &String| capabilities.contains(capability);
        let included = |filter: &Filter| {
            filter.caps.iter().all(has)
                && (filter.arches.is_empty() || filter.arches.iter().any(|name| name == go_name))
        };
        let excluded = |filter: &Filter| {
            filter.caps.iter().any(has)
                || filter.arches.iter().any(|name| name == go_name)
                || filter.min_kernel.is_some()
        };
        let syscalls = self
            .syscalls
            .iter()
            .filter(|rule| {
                rule.includes.as_ref().is_none_or(included)
                    && !rule.excludes.as_ref().is_some_and(excluded)
            })
            .map(|rule| SyscallRule {
                names: rule.names.iter().chain(rule.name.iter()).cloned().collect(),
                action: rule.action.clone(),
                errno_ret: rule.errno_ret,
                args: rule.args.clone().unwrap_or_default(),
            })
            .collect();
        Seccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: None,
            listener_metadata: None,
            syscalls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_follow_the_capabilities() {
        let profile = br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                       {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},
              {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
              {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}],
               "excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
        let profile = seccomp_profile(profile).unwrap();
        let names = |capabilities: &[String]| -> Vec<String> {
            let seccomp = profile.for_capabilities(capabilities);
            seccomp
                .syscalls
                .into_iter()
                .flat_map(|rule| rule.names)
                .collect()
        };
        assert_eq!(names(&[]), ["read", "clone"]);
        assert_eq!(names(&["CAP_SYS_ADMIN".into()]), ["read", "mount"]);
        assert!(seccomp_profile(b"{}").is_err());
    }
}
