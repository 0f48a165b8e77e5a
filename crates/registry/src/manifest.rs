//! Which kind of document a manifest is, when the header, the document and
//! its shape may disagree (CVE-2021-41190: one text read as two things).

use serde::Deserialize;
use serde::de::IgnoredAny;
use spec::image::MediaType;
use sys::{Error, ErrorKind, Result};

/// The manifests that a registry shall send.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
}

/// The type of a manifest, from its text and the header that came with it.
pub fn media_type(text: &[u8], header: Option<&str>) -> Result<MediaType> {
    let corrupt = |words: &str| Error::new(ErrorKind::Corrupt, words);
    // A JSON array would pass for a struct whose fields are all absent.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(corrupt("the manifest is not a JSON object"));
    }
    let shape: Shape = serde_json::from_slice(text)
        .map_err(|error| corrupt(&format!("the manifest is not valid: {error}")))?;
    if shape.schema_version == 1 {
        let words = "the manifest has Docker's schema 1, which has been out of use since 2017";
        return Err(Error::new(ErrorKind::Unsupported, words));
    }
    let is_index = shape.manifests.is_some();
    if is_index && (shape.config.is_some() || shape.layers.is_some()) {
        return Err(corrupt("the manifest is an image and an index at once"));
    }
    let known = |kind: &MediaType| kind.is_index() || kind.is_manifest();
    let said = header.map(MediaType::parse).filter(known);
    let kind = match (shape.media_type, said) {
        (Some(own), Some(said)) if known(&own) && own != said => {
            return Err(corrupt(
                "the manifest is not of the type that the registry says",
            ));
        }
        (Some(own), _) if known(&own) => own,
        (Some(other), _) => {
            let words = format!("a manifest of type {:?} is not an image", other.as_str());
            return Err(Error::new(ErrorKind::Unsupported, words));
        }
        (None, Some(said)) => said,
        (None, None) if is_index => MediaType::OciIndex,
        (None, None) => MediaType::OciManifest,
    };
    if kind.is_index() != is_index {
        return Err(corrupt("the manifest has not the shape of its type"));
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_text_and_shape_have_to_agree() {
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let list = "application/vnd.docker.distribution.manifest.list.v2+json";
        let image = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(
            media_type(image, Some(oci)).unwrap(),
            MediaType::OciManifest
        );
        assert_eq!(media_type(image, None).unwrap(), MediaType::OciManifest);
        assert_eq!(
            media_type(image, Some("text/plain")).unwrap(),
            MediaType::OciManifest
        );
        assert_eq!(
            media_type(index, Some(list)).unwrap(),
            MediaType::DockerManifestList
        );
        assert_eq!(media_type(index, None).unwrap(), MediaType::OciIndex);
        for (text, header) in [
            (&image[..], list),
            (&index[..], oci),
            (
                br#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#,
                oci,
            ),
            (br#"{"schemaVersion":1}"#, oci),
            (
                br#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
                oci,
            ),
            (
                br#"{"mediaType":"text/plain","config":{},"layers":[]}"#,
                oci,
            ),
            (b"", oci),
            (b"[]", oci),
        ] {
            assert!(media_type(text, Some(header)).is_err());
        }
    }
}
