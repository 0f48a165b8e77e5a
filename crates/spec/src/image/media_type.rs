use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The media types that an engine meets; others are kept as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    OciIndex,
    OciManifest,
    OciConfig,
    OciLayer(LayerCompression),
    DockerManifestList,
    DockerManifest,
    DockerConfig,
    DockerLayer(LayerCompression),
    Other(String),
}

/// How the tar of a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    None,
    Gzip,
    Zstd,
}

const NAMES: [(MediaType, &str); 12] = [
    (
        MediaType::OciIndex,
        "application/vnd.oci.image.index.v1+json",
    ),
    (
        MediaType::OciManifest,
        "application/vnd.oci.image.manifest.v1+json",
    ),
    (
        MediaType::OciConfig,
        "application/vnd.oci.image.config.v1+json",
    ),
    (
        MediaType::OciLayer(LayerCompression::None),
        "application/vnd.oci.image.layer.v1.tar",
    ),
    (
        MediaType::OciLayer(LayerCompression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    (
        MediaType::OciLayer(LayerCompression::Zstd),
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ),
    (
        MediaType::DockerManifestList,
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ),
    (
        MediaType::DockerManifest,
        "application/vnd.docker.distribution.manifest.v2+json",
    ),
    (
        MediaType::DockerConfig,
        "application/vnd.docker.container.image.v1+json",
    ),
    (
        MediaType::DockerLayer(LayerCompression::None),
        "application/vnd.docker.image.rootfs.diff.tar",
    ),
    (
        MediaType::DockerLayer(LayerCompression::Gzip),
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    (
        MediaType::DockerLayer(LayerCompression::Zstd),
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ),
];

impl MediaType {
    /// As written in manifests and HTTP headers.
    pub fn as_str(&self) -> &str {
        if let Self::Other(name) = self {
            return name;
        }
        NAMES
            .iter()
            .find(|(known, _)| known == self)
            .map_or("", |(_, name)| name)
    }

    /// From a manifest or an HTTP header; parameters after `;` are dropped.
    pub fn parse(text: &str) -> Self {
        let name = text.split(';').next().unwrap_or_default().trim();
        NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or_else(|| Self::Other(name.to_owned()), |(known, _)| known.clone())
    }

    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// How a layer of this type is packed; `None` if this is no layer.
    pub fn layer_compression(&self) -> Option<LayerCompression> {
        match self {
            Self::OciLayer(compression) | Self::DockerLayer(compression) => Some(*compression),
            // Non-distributable layers are deprecated and still met.
            Self::Other(name)
                if name.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar") =>
            {
                Some(match name.rsplit_once('+') {
                    Some((_, "gzip")) => LayerCompression::Gzip,
                    Some((_, "zstd")) => LayerCompression::Zstd,
                    _ => LayerCompression::None,
                })
            }
            Self::Other(name)
                if name == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" =>
            {
                Some(LayerCompression::Gzip)
            }
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::parse(&text))
    }
}
