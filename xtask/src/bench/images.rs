//! Pull with unpacking, and push, of a real image from and to a registry on loopback.

use std::path::Path;
use std::process::Command;

use super::engines::{Engine, Engines, stop};
use super::report::Report;

pub(crate) fn transfers(
    engines: &Engines,
    image: &Path,
    rounds: usize,
    report: &mut Report,
) -> Result<(), String> {
    let source = format!("{}/bench/postgres:15", engines.registry);
    let mut registry = Some(engines.fresh_registry(None)?);
    // An independent tool fills the registry, the same for all.
    let archive = format!("oci-archive:{}", image.display());
    let seeded = Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--insecure-policy",
            "--dest-tls-verify=false",
            &archive,
            &format!("docker://{source}"),
        ])
        .output()
        .map_err(|error| format!("start skopeo: {error}"))?;
    if !seeded.status.success() {
        stop(registry);
        return Err(format!(
            "skopeo: {}",
            String::from_utf8_lossy(&seeded.stderr).trim()
        ));
    }

    let pulled = engines.interleave(
        "pull and unpack the PostgreSQL image",
        rounds,
        &Engine::WITH_IMAGES,
        |engine, _| {
            let _ = engines.check(engine, &engines.words(engine, &["rmi", "-f", &source]));
            settle();
            let mut words = vec!["pull", "-q"];
            if engine == Engine::Podman {
                words.push("--tls-verify=false");
            }
            words.push(&source);
            engines.timed(engine, &engines.words(engine, &words))
        },
    )?;
    let pushed = engines.interleave(
        "push the PostgreSQL image to an empty registry",
        rounds,
        &Engine::WITH_IMAGES,
        |engine, _| {
            registry = Some(engines.fresh_registry(registry.take())?);
            settle();
            let mut words = vec!["push"];
            if engine == Engine::Podman {
                words.extend(["-q", "--tls-verify=false"]);
            }
            words.push(&source);
            engines.timed(engine, &engines.words(engine, &words))
        },
    )?;
    stop(registry);
    let faster = |row: &super::statistics::Row| {
        let peers = [Engine::Docker, Engine::Podman]
            .into_iter()
            .filter(|peer| row.of(*peer).is_some());
        peers.min_by_key(|peer| row.median(*peer))
    };
    report.times("pull + unpack of the PostgreSQL image", &pulled);
    if let Some(peer) = faster(&pulled) {
        report.times_faster(
            &format!("than {}, the faster", peer.name()),
            &pulled,
            peer,
            1.3,
        );
    }
    report.times("push of the PostgreSQL image", &pushed);
    if let Some(peer) = faster(&pushed) {
        report.times_faster(
            &format!("than {}, the faster", peer.name()),
            &pushed,
            peer,
            2.0,
        );
    }
    Ok(())
}

/// What the one before still had to write is not the next one's burden.
fn settle() {
    let _ = Command::new("sync").status();
}
