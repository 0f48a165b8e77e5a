//! Documents that registries send: manifests, indexes, image configurations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::image::{Descriptor, ImageConfig, Index, Manifest, Platform};

fuzz_target!(|document: &[u8]| {
    let _ = registry::manifest::media_type(document, None);
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(document) {
        let written = serde_json::to_vec(&manifest).expect("what was read can be written");
        let again: Manifest = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
        for layer in &manifest.layers {
            let _ = layer.media_type.layer_compression();
        }
    }
    if let Ok(index) = serde_json::from_slice::<Index>(document) {
        let chosen: Option<&Descriptor> = index.choose(&Platform::new("linux", "amd64"));
        assert!(chosen.is_none_or(|chosen| index.manifests.iter().any(|one| one.digest == chosen.digest)));
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(document) {
        let _ = image::chain_of(&config.rootfs.diff_ids);
        let written = serde_json::to_vec(&config).expect("what was read can be written");
        serde_json::from_slice::<ImageConfig>(&written).expect("what was written can be read");
    }
});
