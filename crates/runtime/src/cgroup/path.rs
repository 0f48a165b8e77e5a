use std::fmt;

use sys::{Error, ErrorKind, Result};

/// Where a cgroup is, below the root of each hierarchy: `/wharf/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// The place of the engine's containers.
    pub fn of_container(id: &str) -> Result<Self> {
        Self::parse(&format!("/wharf/{id}"))
    }

    /// An absolute path of plain names; `.` and `..` are refused.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorKind::InvalidInput,
                format!("cgroup path {text:?} {why}"),
            ))
        };
        let Some(rest) = text.strip_prefix('/') else {
            return refuse("is not absolute");
        };
        if text.len() > 1024 {
            return refuse("is too long");
        }
        for name in rest.split('/') {
            if name.is_empty() || name == "." || name == ".." || name.len() > 255 {
                return refuse("has an empty, too long or relative part");
            }
            if name.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
                return refuse("has a control character");
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// With the leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the leading slash, to be joined to a hierarchy's root.
    pub fn relative(&self) -> &str {
        &self.0[1..]
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_that_lead_elsewhere() {
        for bad in [
            "",
            "/",
            "wharf/x",
            "/wharf/../x",
            "/wharf//x",
            "/a/./b",
            "/a\n",
        ] {
            assert!(CgroupPath::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(CgroupPath::parse("/wharf/x").unwrap().relative(), "wharf/x");
    }
}
