//! `container prune`.

use std::str::FromStr;

use state::{ContainerId, Status, Timestamp};
use sys::{Error, ErrorKind, Result};

use super::request::RemoveRequest;
use super::{Containers, observe};

/// One `--filter` of a prune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PruneFilter {
    /// Made before this time.
    Until(Timestamp),
    Label(String, Option<String>),
    /// Without this label.
    NotLabel(String, Option<String>),
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunedContainers {
    pub removed: Vec<ContainerId>,
    /// Bytes of their writable layers.
    pub freed: u64,
}

/// `until=TIME`, `label=KEY[=VALUE]`, `label!=KEY[=VALUE]`.
impl FromStr for PruneFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let label = |text: &str| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.to_owned(), None),
        };
        if let Some(text) = text.strip_prefix("label!=") {
            let (key, value) = label(text);
            return Ok(Self::NotLabel(key, value));
        }
        if let Some(text) = text.strip_prefix("label=") {
            let (key, value) = label(text);
            return Ok(Self::Label(key, value));
        }
        if let Some(text) = text.strip_prefix("until=") {
            return crate::parse::time(text, Timestamp::now()).map(Self::Until);
        }
        let shown: String = text.chars().take(80).collect();
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("invalid filter {shown:?}: use until=TIME, label=KEY or label!=KEY"),
        ))
    }
}

impl PruneFilter {
    /// Whether what has these properties goes.
    pub(crate) fn lets_go(
        &self,
        created: Option<Timestamp>,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> bool {
        let has = |key: &String, value: &Option<String>| {
            labels
                .get(key)
                .is_some_and(|found| value.as_ref().is_none_or(|wanted| wanted == found))
        };
        match self {
            Self::Until(time) => created.is_some_and(|created| created < *time),
            Self::Label(key, value) => has(key, value),
            Self::NotLabel(key, value) => !has(key, value),
        }
    }
}

impl Containers<'_> {
    /// Removes what does not run and passes all filters.
    pub fn prune(&self, filters: &[PruneFilter]) -> Result<PrunedContainers> {
        let store = self.engine.images().store()?;
        let mut pruned = PrunedContainers::default();
        for entry in crate::entries(&self.engine.layout().containers())? {
            let Ok(id) = entry.parse::<ContainerId>() else {
                continue;
            };
            let Some(observed) = observe::observe(self.engine, &id)? else {
                continue;
            };
            let is_over = matches!(observed.status, Status::Created | Status::Exited(_));
            let config = &observed.config;
            let goes = is_over
                && filters
                    .iter()
                    .all(|filter| filter.lets_go(Some(config.created), &config.labels));
            if !goes {
                continue;
            }
            let size = store.snapshots().usage(&id).unwrap_or(0);
            match self.remove(&id.to_string(), RemoveRequest::default()) {
                Ok(_) => {
                    pruned.removed.push(id);
                    pruned.freed += size;
                }
                // Somebody removed or started it meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }
}
