use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ParseError;

/// Operating system and processor in Go's names (image-index.md, `platform`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }
    }

    /// Linux on the processor that this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self::new("linux", architecture)
    }

    /// How well `offered` serves this wish, 0 best; `None` if it cannot run.
    pub fn fit(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        match (level(self), level(offered)) {
            (wanted, offered) if offered == wanted => Some(0),
            // A processor runs code for its older levels, newest first.
            (wanted, offered) if offered < wanted => Some(wanted - offered),
            // Unstated wish: prefer the base level.
            _ if self.variant.is_none() => Some(100 + level(offered)),
            _ => None,
        }
    }
}

/// `v8` of arm64 and `v1` of amd64 are what no variant means.
fn level(platform: &Platform) -> u32 {
    let base = match platform.architecture.as_str() {
        "arm64" => 8,
        "amd64" => 1,
        "arm" => 7,
        _ => 0,
    };
    platform
        .variant
        .as_deref()
        .and_then(|variant| variant.strip_prefix('v'))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(base)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParseError;

    /// `linux/amd64`, `linux/arm/v7`, or a processor alone.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts: Vec<&str> = text.split('/').collect();
        let fine = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !parts.iter().all(fine) {
            return Err(ParseError::new(
                "a platform (os/architecture[/variant])",
                text,
            ));
        }
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => {
                return Err(ParseError::new(
                    "a platform (os/architecture[/variant])",
                    text,
                ));
            }
        };
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            variant,
            ..Self::new(os, architecture)
        })
    }
}
