//! A checkpoint as one file: `checkpoint export` and `import`.
//!
//! A tar, packed with zstd or not, of these members in this order:
//!
//! ```text
//! wharf-checkpoint     {"format":1,"name":"…"}
//! checkpoint.json      what it is
//! memory/checkpoint    memory/pages
//! layer.tar            volumes/0.tar …      as layers of images are written
//! sums.json            the digest of each member before it
//! ```
//! Whoever reads one has to take it for an attack: nothing of it chooses a
//! path, and nothing counts before all of it was seen.

mod export;
mod import;
mod member;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spec::Digest;
use state::ContainerName;

/// The form of an archive.
const FORMAT: u32 = 1;

const HEADER: &str = "wharf-checkpoint";
const RECORD: &str = "checkpoint.json";
const METADATA: &str = "memory/checkpoint";
const PAGES: &str = "memory/pages";
const LAYER: &str = "layer.tar";
const SUMS: &str = "sums.json";

/// How an archive is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportRequest {
    /// Smaller, and slower to write.
    pub zstd: bool,
}

/// How an archive is taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// As it was called where it comes from if absent.
    pub name: Option<ContainerName>,
    /// It gets what it asks for, beyond what `wharf run IMAGE` gives.
    pub trust: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    name: ContainerName,
}

type Sums = BTreeMap<String, Digest>;

fn volume(number: usize) -> String {
    format!("volumes/{number}.tar")
}
