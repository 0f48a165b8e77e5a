//! Against Debian's `docker-registry`: the real protocol, real refusals.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use registry::{Client, CredentialSource, Credentials, Upload, Uploaded};
use spec::Reference;
use spec::image::{Descriptor, MediaType, Platform};
use support::real::{Guard, Registry};
use support::{anonymous, as_user, config, layer, manifest, noise, password, reference};
use sys::{ErrorKind, Result};

fn upload(
    client: &Client,
    to: &Reference,
    descriptor: &Descriptor,
    bytes: &[u8],
    mount_from: &[String],
) -> Result<Uploaded> {
    let copy = bytes.to_vec();
    let sent = AtomicU64::new(0);
    let done = client.upload_blob(
        to,
        &Upload {
            descriptor,
            mount_from,
            open: &move || Ok(Box::new(std::io::Cursor::new(copy.clone()))),
            progress: &|bytes| sent.store(bytes, Ordering::SeqCst),
        },
    )?;
    let expected = if done == Uploaded::Sent {
        descriptor.size
    } else {
        0
    };
    assert_eq!(sent.load(Ordering::SeqCst), expected);
    Ok(done)
}

/// A small image; returns its manifest's descriptor and its layer.
fn push(client: &Client, to: &Reference) -> Result<(Descriptor, Vec<u8>)> {
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let bytes = noise(300_000);
    let (descriptor, text) = manifest(config, &[&bytes]);
    let config_descriptor = Descriptor::new(
        MediaType::OciConfig,
        support::sha256(config),
        config.len() as u64,
    );
    upload(client, to, &layer(&bytes), &bytes, &[])?;
    upload(client, to, &config_descriptor, config, &[])?;
    client.put_manifest(to, &descriptor, &text)?;
    Ok((descriptor, bytes))
}

fn pull(client: &Client, from: &Reference) -> Result<(Descriptor, Vec<u8>)> {
    let resolved = client.resolve(from, &Platform::new("linux", "amd64"))?;
    let mut bytes = Vec::new();
    client
        .blob(from, &resolved.parsed.layers[0], 0)?
        .read_to_end(&mut bytes)?;
    Ok((resolved.manifest.0, bytes))
}

#[test]
fn what_is_pushed_comes_back() {
    let registry = Registry::start(&Guard::Open);
    let client = anonymous();
    let name = reference(&format!("{}/a/image:v1", registry.host()));
    let pushed = push(&client, &name).unwrap();
    assert_eq!(pull(&anonymous(), &name).unwrap(), pushed);
    let by_digest = name.with_digest(pushed.0.digest);
    assert_eq!(pull(&client, &by_digest).unwrap(), pushed);
    assert_eq!(client.digest_of(&name).unwrap(), Some(pushed.0.digest));
    client
        .put_manifest(
            &name.with_tag("v2").unwrap(),
            &pushed.0,
            &client.manifest(&name).unwrap().1,
        )
        .unwrap();
    let mut tags = client.tags(&name).unwrap();
    tags.sort();
    assert_eq!(tags, ["v1", "v2"]);
}

#[test]
fn only_what_is_missing_is_sent() {
    let registry = Registry::start(&Guard::Open);
    let client = anonymous();
    let first = reference(&format!("{}/first:x", registry.host()));
    let second = reference(&format!("{}/second:x", registry.host()));
    let bytes = noise(100_000);
    let send = |to: &Reference, from: &[String]| upload(&client, to, &layer(&bytes), &bytes, from);
    assert_eq!(send(&first, &[]).unwrap(), Uploaded::Sent);
    assert_eq!(send(&first, &[]).unwrap(), Uploaded::Existed);
    let candidates = ["nowhere".to_owned(), "first".to_owned()];
    assert_eq!(send(&second, &candidates).unwrap(), Uploaded::Mounted);
    let third = reference(&format!("{}/third:x", registry.host()));
    assert!(
        client
            .mount_blob(&third, &layer(&bytes).digest, "second")
            .unwrap()
    );
    assert!(client.has_blob(&third, &layer(&bytes)).unwrap());
    let empty = reference(&format!("{}/empty:x", registry.host()));
    assert_eq!(
        upload(&client, &empty, &layer(b""), b"", &[]).unwrap(),
        Uploaded::Sent
    );
}

#[test]
fn reading_can_begin_anywhere() {
    let registry = Registry::start(&Guard::Open);
    let client = anonymous();
    let name = reference(&format!("{}/image:v1", registry.host()));
    let bytes = noise(200_000);
    upload(&client, &name, &layer(&bytes), &bytes, &[]).unwrap();
    for offset in [0, 1, 99_999, 199_999, 200_000] {
        let mut rest = Vec::new();
        let mut reader = client.blob(&name, &layer(&bytes), offset).unwrap();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes[usize::try_from(offset).unwrap()..]);
    }
    let error = client.blob(&name, &layer(&bytes), 200_001).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn what_is_not_there_is_named() {
    let registry = Registry::start(&Guard::Open);
    let client = anonymous();
    let host = registry.host();
    let platform = Platform::new("linux", "amd64");
    let name = reference(&format!("{host}/x:y"));
    let error = client.resolve(&name, &platform).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no such image: {host}/x:y: not found at the registry")
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    push(&client, &name).unwrap();
    let error = client
        .resolve(&name.with_tag("z").unwrap(), &platform)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no such image: {host}/x:z: not found at the registry")
    );
    let error = client.blob(&name, &layer(b"other"), 0).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let nobody = reference(&format!("{host}/none:y"));
    assert_eq!(
        client.tags(&nobody).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    let registry = Registry::start(&Guard::Open);
    let client = anonymous();
    let name = reference(&format!("{}/multi:v1", registry.host()));
    let (mut entry, bytes) = push(&client, &name).unwrap();
    entry.platform = Some(Platform::new("linux", "amd64"));
    let text = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(), "manifests": [entry],
    }))
    .unwrap();
    let index = Descriptor::new(
        MediaType::OciIndex,
        support::sha256(&text),
        text.len() as u64,
    );
    client.put_manifest(&name, &index, &text).unwrap();
    let resolved = client
        .resolve(&name, &Platform::new("linux", "amd64"))
        .unwrap();
    assert_eq!(resolved.digest(), index.digest);
    assert_eq!(resolved.manifest.0.digest, entry.digest);
    assert_eq!(pull(&client, &name).unwrap().1, bytes);
    let error = client
        .resolve(&name, &Platform::new("linux", "arm64"))
        .unwrap_err();
    let words = format!(
        "no image for linux/arm64 in {}: there is linux/amd64",
        name.familiar()
    );
    assert_eq!(error.to_string(), words);
}

#[test]
fn name_and_password() {
    let registry = Registry::start(&Guard::Basic);
    let host = registry.host();
    let name = reference(&format!("{host}/image:v1"));
    let joe = as_user(&host, "joe", "secret");
    let pushed = push(&joe, &name).unwrap();
    assert_eq!(
        pull(&as_user(&host, "joe", "secret"), &name).unwrap(),
        pushed
    );

    let error = pull(&as_user(&host, "joe", "wrong"), &name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error
            .to_string()
            .contains("refused the credentials for user joe"),
        "{error}"
    );
    let error = pull(&anonymous(), &name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    // Credentials for one registry are not shown to another.
    let other = as_user("other.example", "joe", "secret");
    assert_eq!(pull(&other, &name).unwrap_err().kind(), ErrorKind::Denied);

    Client::login(&config(), &host, &password("joe", "secret")).unwrap();
    let error = Client::login(&config(), &host, &password("joe", "wrong")).unwrap_err();
    let words = format!("registry {host} refused the credentials for user joe");
    assert_eq!(error.to_string(), words);
}

#[test]
fn tokens() {
    let directory = tempfile::tempdir().unwrap();
    let server = support::tokens::start(directory.path());
    let registry = Registry::start(&Guard::Token {
        realm: &format!("http://{}/token", server.host()),
        certificate: &directory.path().join("cert.pem"),
    });
    let host = registry.host();
    let public = reference(&format!("{host}/public:v1"));
    let private = reference(&format!("{host}/private:v1"));
    let joe = as_user(&host, "joe", "secret");
    let pushed = push(&joe, &public).unwrap();
    push(&joe, &private).unwrap();
    // One token serves a whole push.
    assert_eq!(server.seen().len(), 2);

    // So it does for requests at the same time.
    let together = as_user(&host, "joe", "secret");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| together.has_blob(&public, &layer(b"")).unwrap());
        }
    });
    assert_eq!(server.seen().len(), 3);

    assert_eq!(pull(&anonymous(), &public).unwrap(), pushed);
    assert_eq!(
        pull(&anonymous(), &private).unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(
        push(&anonymous(), &public).unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(pull(&joe, &private).unwrap(), pushed);
    let wrong = pull(&as_user(&host, "joe", "wrong"), &public).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Denied);

    let identity = |token: &str| {
        let credentials = Credentials::Identity {
            user: String::new(),
            token: token.to_owned(),
        };
        let source = CredentialSource::Given {
            registry: host.clone(),
            credentials,
        };
        Client::new(config(), source)
    };
    assert_eq!(pull(&identity("refresh"), &private).unwrap(), pushed);
    assert_eq!(
        pull(&identity("other"), &private).unwrap_err().kind(),
        ErrorKind::Denied
    );

    Client::login(&config(), &host, &password("joe", "secret")).unwrap();
    assert!(Client::login(&config(), &host, &password("joe", "wrong")).is_err());
}

#[test]
fn an_own_certificate_authority() {
    let registry = Registry::start(&Guard::Tls);
    let host = format!("localhost:{}", registry.port());
    let name = reference(&format!("{host}/image:v1"));

    let error = push(&anonymous(), &name).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("connect to {host}: its certificate is ")),
        "{error}"
    );

    let certs = tempfile::tempdir().unwrap();
    let own = certs.path().join(&host);
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(
        registry.directory.path().join("cert.pem"),
        own.join("ca.crt"),
    )
    .unwrap();
    let mut trusting = config();
    trusting.certs_dirs.push(certs.path().to_owned());
    let client = Client::new(trusting, CredentialSource::None);
    let pushed = push(&client, &name).unwrap();
    assert_eq!(pull(&client, &name).unwrap(), pushed);

    let mut insecure = config();
    let entry = registry::RegistryEntry {
        insecure: true,
        ..Default::default()
    };
    insecure.registries.insert(host.clone(), entry);
    assert_eq!(
        pull(&Client::new(insecure, CredentialSource::None), &name).unwrap(),
        pushed
    );
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_after_it() {
    let mirror = Registry::start(&Guard::Open);
    let origin = Registry::start(&Guard::Open);
    let name = |host: &str, tag: &str| reference(&format!("{host}/image:{tag}"));
    let at_mirror = push(&anonymous(), &name(&mirror.host(), "both")).unwrap();
    push(&anonymous(), &name(&origin.host(), "both")).unwrap();
    push(&anonymous(), &name(&origin.host(), "origin")).unwrap();

    let mut config = config();
    let dead = "http://127.0.0.1:1".to_owned();
    let mirrors = [dead, format!("http://{}", mirror.host())];
    let entry = registry::RegistryEntry {
        mirrors: mirrors
            .into_iter()
            .map(|location| registry::Mirror {
                location,
                insecure: false,
            })
            .collect(),
        location: Some(origin.host()),
        ..Default::default()
    };
    config.registries.insert("reg.example".to_owned(), entry);
    let client = Client::new(config, CredentialSource::None);
    assert_eq!(
        pull(&client, &name("reg.example", "both")).unwrap(),
        at_mirror
    );
    pull(&client, &name("reg.example", "origin")).unwrap();
    let error = pull(&client, &name("reg.example", "none")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no such image: reg.example/image:none: not found at the registry"
    );
    // Pushes go to the registry itself.
    push(&client, &name("reg.example", "pushed")).unwrap();
    pull(&anonymous(), &name(&origin.host(), "pushed")).unwrap();
    assert!(pull(&anonymous(), &name(&mirror.host(), "pushed")).is_err());
}

#[test]
fn nobody_there() {
    let name = reference("127.0.0.1:1/x:y");
    let error = pull(&anonymous(), &name).unwrap_err();
    assert_eq!(
        error.to_string(),
        "connect to 127.0.0.1:1: connection refused"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
