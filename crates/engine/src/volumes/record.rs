//! What is written down about a volume, and what its options mean.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use state::Timestamp;
use sys::{Error, ErrorKind, Result};

/// The form of [`VolumeRecord`] on disk.
const VERSION: u32 = 1;

/// Docker's mark on volumes that were made without a name.
pub(crate) const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// `volume.json` of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) version: u32,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// As given: `type`, `o`, `device`, `size`.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// What a volume's files are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Its own directory.
    Own,
    /// Another directory or file of the host.
    Bind(PathBuf),
    /// A file system that each container mounts for itself.
    FileSystem {
        kind: String,
        device: String,
        options: Vec<String>,
    },
}

impl VolumeRecord {
    pub(crate) fn new(
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<Self> {
        let record = Self {
            version: VERSION,
            created: Timestamp::now(),
            labels,
            options,
        };
        if record.size()?.is_some() && record.backing()? != Backing::Own {
            return Err(invalid("size is for volumes without type, o and device"));
        }
        Ok(record)
    }

    /// Bytes that its files may have.
    pub(crate) fn size(&self) -> Result<Option<u64>> {
        let size = self.options.get("size");
        size.map(|text| crate::parse::bytes(text)).transpose()
    }

    /// Made without a name, so nobody knows it once its container is gone.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS_LABEL)
    }

    /// What the options `type`, `o` and `device` say. `InvalidInput` for what
    /// cannot be mounted, whatever the host has.
    pub(crate) fn backing(&self) -> Result<Backing> {
        for key in self.options.keys() {
            if !matches!(key.as_str(), "type" | "o" | "device" | "size") {
                return Err(invalid(format!(
                    "there is no option {key:?}: use type, o, device or size"
                )));
            }
        }
        let given = |key: &str| self.options.get(key).map_or("", String::as_str);
        let (kind, device) = (given("type"), given("device"));
        let words = || given("o").split(',').filter(|word| !word.is_empty());
        let binds = words().any(|word| matches!(word, "bind" | "rbind"));
        match (kind, device) {
            ("", "") if given("o").is_empty() => Ok(Backing::Own),
            ("" | "none" | "bind", "") => Err(invalid("option device is missing")),
            ("none" | "bind", device) => bind(device),
            (_, device) if binds => bind(device),
            ("", _) => Err(invalid("option type is missing")),
            (kind, "") if kind != "tmpfs" => Err(invalid("option device is missing")),
            (kind, device) => Ok(Backing::FileSystem {
                kind: kind.to_owned(),
                device: if device.is_empty() { kind } else { device }.to_owned(),
                options: words().map(str::to_owned).collect(),
            }),
        }
    }
}

fn bind(device: &str) -> Result<Backing> {
    if !device.starts_with('/') {
        return Err(invalid("the device of a bind is an absolute path"));
    }
    Ok(Backing::Bind(PathBuf::from(device)))
}

/// The kernel looks no names up: `addr=` of a network file system becomes an
/// address, and one that is missing is taken from the device.
pub(crate) fn with_address(kind: &str, device: &str, options: &mut Vec<String>) -> Result<()> {
    if !matches!(kind, "nfs" | "nfs4") {
        return Ok(());
    }
    let place = options
        .iter()
        .position(|option| option.starts_with("addr="));
    let host = match place {
        Some(place) => options[place]["addr=".len()..].to_owned(),
        None => match device.rsplit_once(":/") {
            Some((host, _)) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
            _ => return Ok(()),
        },
    };
    let address = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => (host.as_str(), 2049)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .map(|found| found.ip())
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("no name server knows the host {host} of its device"),
                )
            })?,
    };
    let option = format!("addr={address}");
    match place {
        Some(place) => options[place] = option,
        None => options.push(option),
    }
    Ok(())
}

pub(super) fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backing(options: &[(&str, &str)]) -> Result<Backing> {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        VolumeRecord::new(BTreeMap::new(), options)?.backing()
    }

    #[test]
    fn options_say_what_is_mounted() {
        assert_eq!(backing(&[]).unwrap(), Backing::Own);
        assert_eq!(backing(&[("size", "1g")]).unwrap(), Backing::Own);
        let bind = [("type", "none"), ("o", "bind,rw"), ("device", "/srv")];
        assert_eq!(backing(&bind).unwrap(), Backing::Bind("/srv".into()));
        assert_eq!(
            backing(&[("type", "tmpfs"), ("o", "size=64k,uid=5")]).unwrap(),
            Backing::FileSystem {
                kind: "tmpfs".into(),
                device: "tmpfs".into(),
                options: vec!["size=64k".into(), "uid=5".into()],
            }
        );
        for bad in [
            &[("type", "none"), ("o", "bind")][..],
            &[("device", "/dev/sdx")],
            &[("type", "ext4")],
            &[("what", "x")],
            &[("type", "none"), ("device", "relative")],
            &[("size", "much")],
            &[("size", "1g"), ("type", "tmpfs"), ("device", "tmpfs")],
        ] {
            assert!(backing(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_address_of_a_server_is_told_to_the_kernel() {
        let mut options = vec!["vers=4".to_owned()];
        with_address("nfs", "192.0.2.1:/data", &mut options).unwrap();
        assert_eq!(options, ["vers=4", "addr=192.0.2.1"]);
        let mut options = vec!["addr=::1".to_owned()];
        with_address("nfs4", ":/data", &mut options).unwrap();
        assert_eq!(options, ["addr=::1"]);
        let mut options = Vec::new();
        with_address("ext4", "/dev/x:/y", &mut options).unwrap();
        assert!(options.is_empty());
    }
}
