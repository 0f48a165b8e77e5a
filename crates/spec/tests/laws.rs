//! Laws that hold for every value: what is printed reads back as the same.

use proptest::prelude::*;
use spec::image::{Descriptor, Index, MediaType, Platform};
use spec::{Digest, Reference};

proptest! {
    #[test]
    fn digests_read_back(bytes: [u8; 32]) {
        let digest = Digest::sha256(bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        prop_assert_eq!(digest.as_bytes(), &bytes[..]);
    }

    /// Any text either is refused or has one canonical form, which is stable.
    #[test]
    fn any_text_as_reference(text in "[a-zA-Z0-9._:/@\\[\\]-]{0,80}|\\PC{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            let canonical = reference.to_string();
            prop_assert_eq!(canonical.parse::<Reference>(), Ok(reference.clone()));
            prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference.clone()));
            prop_assert!(!canonical.contains("..") && !canonical.contains("//"));
        }
    }

    #[test]
    fn built_references_are_accepted(
        host in "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?",
        path in proptest::collection::vec("[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", 1..4),
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
    ) {
        let path = path.join("/");
        let reference: Reference = format!("{host}/{path}:{tag}").parse().unwrap();
        prop_assert_eq!(reference.registry(), host);
        prop_assert_eq!(reference.repository(), path);
        prop_assert_eq!(reference.tag(), Some(tag.as_str()));
    }

    #[test]
    fn media_types_read_back(name in "[a-z]{1,10}/[a-z0-9.+-]{1,60}") {
        let parsed = MediaType::parse(&name);
        prop_assert_eq!(parsed.as_str(), name.as_str());
    }
}

#[test]
fn an_index_serves_the_processor_that_asks() {
    let entry = |fill: u8, platform: Option<&str>| Descriptor {
        platform: platform.map(|text| text.parse().unwrap()),
        ..Descriptor::new(MediaType::OciManifest, Digest::sha256([fill; 32]), 1)
    };
    let index = Index {
        schema_version: 2,
        media_type: None,
        manifests: vec![
            entry(1, Some("linux/arm/v6")),
            entry(2, Some("linux/arm/v7")),
            entry(3, Some("linux/amd64")),
            entry(4, Some("windows/amd64")),
            entry(5, Some("linux/amd64/v3")),
        ],
        annotations: std::collections::BTreeMap::new(),
    };
    let chosen = |wanted: &str| {
        let wanted: Platform = wanted.parse().unwrap();
        index
            .choose(&wanted)
            .map(|entry| entry.digest.as_bytes()[0])
    };
    assert_eq!(chosen("linux/amd64"), Some(3));
    assert_eq!(chosen("linux/amd64/v2"), Some(3));
    assert_eq!(chosen("linux/amd64/v3"), Some(5));
    assert_eq!(chosen("linux/arm/v7"), Some(2));
    assert_eq!(chosen("linux/arm/v6"), Some(1));
    assert_eq!(chosen("linux/s390x"), None);
}

#[test]
fn reads_what_go_writes() {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],
        "Entrypoint":null,"ExposedPorts":{"80/tcp":{}},"Labels":null,"Volumes":null,"User":""},
        "rootfs":{"type":"layers","diff_ids":null},"history":null,"container":"x"}"#;
    let config: spec::image::ImageConfig = serde_json::from_str(config).unwrap();
    assert_eq!(config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(config.config.entrypoint, None);
    assert!(config.config.ports().contains("80/tcp"));
    let again = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<spec::image::ImageConfig>(&again).unwrap(),
        config
    );
}
