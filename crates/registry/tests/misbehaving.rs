//! Against a server that does what registries on bad days, and attackers, do.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use registry::{Client, CredentialSource, Upload};
use spec::Reference;
use spec::image::Platform;
use support::fake::{Fake, Seen, raw, reply};
use support::{anonymous, as_user, config, layer, manifest, noise, reference};
use sys::{ErrorKind, Result};

const MANIFEST: &str = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";

fn name(server: &Fake) -> Reference {
    reference(&format!("{}/image:v1", server.host()))
}

fn read(client: &Client, server: &Fake, bytes: &[u8], offset: u64) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    client
        .blob(&name(server), &layer(bytes), offset)?
        .read_to_end(&mut found)?;
    Ok(found)
}

fn resolve(client: &Client, server: &Fake) -> Result<registry::Resolved> {
    client.resolve(&name(server), &Platform::new("linux", "amd64"))
}

/// Serves blobs in full; other requests get an empty success.
fn serve(request: &Seen, bytes: &[u8]) -> Vec<u8> {
    if !request.path.contains("/blobs/") {
        return reply("200 OK", "", b"");
    }
    let start = request
        .header("range")
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    if start == 0 {
        return reply("200 OK", "", bytes);
    }
    let headers = format!(
        "Content-Range: bytes {start}-{}/{}\r\n",
        bytes.len() - 1,
        bytes.len()
    );
    reply("206 Partial Content", &headers, &bytes[start..])
}

#[test]
fn a_blob_that_breaks_off_is_resumed_where_it_broke() {
    let bytes = noise(300_000);
    let served = bytes.clone();
    let server = Fake::start(move |request, count| {
        let answer = serve(request, &served);
        // The first two answers break off at different places.
        match count {
            1 => answer[..100_000].to_vec(),
            2 => answer[..50_000].to_vec(),
            _ => answer,
        }
    });
    assert_eq!(read(&anonymous(), &server, &bytes, 0).unwrap(), bytes);
    let ranges: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.header("range").is_some())
        .collect();
    assert_eq!(ranges, [false, true, true]);
}

#[test]
fn a_blob_that_never_comes_ends_in_an_error() {
    let bytes = noise(10_000);
    let served = bytes.clone();
    let server = Fake::start(move |request, _| {
        if request.path.contains("/blobs/") {
            raw(
                "200 OK",
                &format!("Content-Length: {}\r\n", served.len()),
                b"",
            )
        } else {
            reply("200 OK", "", b"")
        }
    });
    let error = read(&anonymous(), &server, &bytes, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().ends_with("the connection broke off"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn a_range_that_is_ignored_does_no_harm() {
    let bytes = noise(100_000);
    let served = bytes.clone();
    let server = Fake::start(move |_, _| reply("200 OK", "", &served));
    assert_eq!(
        read(&anonymous(), &server, &bytes, 40_000).unwrap(),
        bytes[40_000..]
    );
}

#[test]
fn a_range_from_elsewhere_is_refused() {
    let bytes = noise(1_000);
    let served = bytes.clone();
    let server = Fake::start(move |request, _| match request.header("range") {
        Some(_) => reply(
            "206 Partial Content",
            "Content-Range: bytes 600-999/1000\r\n",
            &served[600..],
        ),
        None => reply("200 OK", "", b""),
    });
    let error = read(&anonymous(), &server, &bytes, 500).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn too_long_and_too_short_blobs_are_refused() {
    let bytes = noise(5_000);
    for (length, announced) in [(4_999, true), (5_001, true), (5_001, false)] {
        let server = Fake::start(move |request, _| {
            if !request.path.contains("/blobs/") {
                reply("200 OK", "", b"")
            } else if announced {
                reply("200 OK", "", &noise(length))
            } else {
                raw("200 OK", "", &noise(length))
            }
        });
        let error = read(&anonymous(), &server, &bytes, 0).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "{length} {announced}: {error}"
        );
    }
}

#[test]
fn failures_that_pass_are_waited_for() {
    let bytes = noise(1_000);
    let served = bytes.clone();
    let server = Fake::start(move |request, count| match count {
        1 => reply("503 Service Unavailable", "", b""),
        2 => reply("429 Too Many Requests", "Retry-After: 1\r\n", b""),
        3 => Vec::new(),
        _ => serve(request, &served),
    });
    assert_eq!(read(&anonymous(), &server, &bytes, 0).unwrap(), bytes);
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn failures_that_stay_are_told() {
    let server = Fake::start(|request, _| {
        if request.path == "/v2/" {
            return reply("200 OK", "", b"");
        }
        reply(
            "500 Internal Server Error",
            "",
            br#"{"errors":[{"code":"X","message":"disk \u0007full"}]}"#,
        )
    });
    let error = resolve(&anonymous(), &server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .ends_with("fails with status 500: disk full"),
        "{error}"
    );
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let bytes = noise(1_000);
    let served = bytes.clone();
    let elsewhere = Fake::start(move |_, _| reply("200 OK", "", &served));
    let target = format!("http://{}/cdn/blob?signature=x", elsewhere.host());
    let server = Fake::start(move |request, _| match request.header("authorization") {
        None => reply(
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"r\"\r\n",
            b"",
        ),
        Some(_) => reply(
            "307 Temporary Redirect",
            &format!("Location: {target}\r\n"),
            b"",
        ),
    });
    let client = as_user(&server.host(), "joe", "secret");
    assert_eq!(read(&client, &server, &bytes, 0).unwrap(), bytes);
    let there = elsewhere.seen();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].path, "/cdn/blob?signature=x");
    assert_eq!(there[0].header("authorization"), None);
    assert!(
        server
            .seen()
            .iter()
            .any(|seen| seen.header("authorization").is_some())
    );
}

#[test]
fn a_circle_of_redirects_ends() {
    let server = Fake::start(|request, _| {
        if request.path == "/v2/" {
            return reply("200 OK", "", b"");
        }
        reply("302 Found", &format!("Location: {}\r\n", request.path), b"")
    });
    let error = resolve(&anonymous(), &server).unwrap_err();
    assert!(
        error.to_string().contains("redirects in a circle"),
        "{error}"
    );
    assert!(server.seen().len() < 40);
}

#[test]
fn credentials_are_not_sent_in_clear_to_a_strange_token_server() {
    let server = Fake::start(|_, _| {
        let header = "WWW-Authenticate: Bearer realm=\"http://tokens.example/\",service=\"s\"\r\n";
        reply("401 Unauthorized", header, b"")
    });
    let client = as_user(&server.host(), "joe", "secret");
    let error = resolve(&client, &server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("in clear to tokens.example"),
        "{error}"
    );
}

#[test]
fn a_manifest_that_is_too_large_is_not_read() {
    let server = Fake::start(|request, _| {
        if request.path == "/v2/" {
            return reply("200 OK", "", b"");
        }
        let announced = format!("Content-Length: {}\r\n{MANIFEST}", 1_u64 << 40);
        raw("200 OK", &announced, b"{")
    });
    let error = resolve(&anonymous(), &server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("is longer than 4194304 bytes"),
        "{error}"
    );

    let server = Fake::start(|request, _| {
        if request.path == "/v2/" {
            return reply("200 OK", "", b"");
        }
        raw("200 OK", MANIFEST, &vec![b' '; 5 << 20])
    });
    let error = resolve(&anonymous(), &server).unwrap_err();
    assert!(
        error.to_string().contains("is longer than 4194304 bytes"),
        "{error}"
    );
}

#[test]
fn a_manifest_has_the_digest_that_was_asked_for_and_told() {
    let (descriptor, text) = manifest(b"{}", &[b"layer"]);
    let told = Arc::new(OnceLock::new());
    let header = Arc::clone(&told);
    let server = Fake::start(move |_, _| {
        let told = header.get().map_or("", String::as_str);
        reply("200 OK", &format!("{MANIFEST}{told}"), &text)
    });
    let name = name(&server);
    let right = name.with_digest(descriptor.digest);
    let wrong = name.with_digest(support::sha256(b"other"));
    let platform = Platform::new("linux", "amd64");
    assert!(anonymous().resolve(&right, &platform).is_ok());
    assert!(anonymous().resolve(&name, &platform).is_ok());
    let error = anonymous().resolve(&wrong, &platform).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    told.set(format!(
        "Docker-Content-Digest: {}\r\n",
        support::sha256(b"other")
    ))
    .unwrap();
    let error = anonymous().resolve(&name, &platform).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn nonsense_is_an_error_and_no_panic() {
    let (_, text) = manifest(b"{}", &[b"layer"]);
    let answers: Vec<Vec<u8>> = vec![
        b"garbage".to_vec(),
        b"HTTP/1.1 999 \r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        reply("200 OK", MANIFEST, b"[]"),
        reply("200 OK", MANIFEST, b"{\"schemaVersion\":2}"),
        reply(
            "200 OK",
            "Content-Type: application/vnd.oci.image.index.v1+json\r\n",
            &text,
        ),
        reply("302 Found", "Location: http://\r\n", b""),
        reply("302 Found", "", b""),
        reply(
            "401 Unauthorized",
            "WWW-Authenticate: Bearer realm=\"nonsense\"\r\n",
            b"",
        ),
        reply("401 Unauthorized", "", b""),
        reply("204 No Content", "", b""),
    ];
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let server = Fake::start(move |request, _| match request.path.as_str() {
            "/v2/" => reply("200 OK", "", b""),
            _ => answer.clone(),
        });
        assert!(resolve(&anonymous(), &server).is_err(), "{shown}");
    }
}

#[test]
fn silence_ends() {
    let mut impatient = config();
    impatient.timeouts.idle = Duration::from_millis(50);
    impatient.timeouts.attempts = 2;
    let server = Fake::start(|request, _| {
        if request.path != "/v2/" {
            std::thread::sleep(Duration::from_millis(200));
        }
        reply("200 OK", MANIFEST, b"{}")
    });
    let client = Client::new(impatient, CredentialSource::None);
    let error = resolve(&client, &server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no answer for"), "{error}");
}

#[test]
fn an_upload_begins_again_after_a_failure() {
    let bytes = noise(200_000);
    let sent = Arc::new(AtomicUsize::new(0));
    let puts = Arc::clone(&sent);
    let expected = bytes.clone();
    let server = Fake::start(move |request, _| match request.method.as_str() {
        "HEAD" => reply("404 Not Found", "", b""),
        "POST" => reply("202 Accepted", "Location: upload?state=1\r\n", b""),
        "PUT" => match puts.fetch_add(1, Ordering::SeqCst) {
            0 => reply("502 Bad Gateway", "", b""),
            _ if request.body == expected => reply("201 Created", "", b""),
            _ => reply("400 Bad Request", "", b""),
        },
        _ => reply("200 OK", "", b""),
    });
    let copy = bytes.clone();
    let upload = Upload {
        descriptor: &layer(&bytes),
        mount_from: &[],
        open: &move || Ok(Box::new(std::io::Cursor::new(copy.clone()))),
        progress: &|_| {},
    };
    anonymous().upload_blob(&name(&server), &upload).unwrap();
    assert_eq!(sent.load(Ordering::SeqCst), 2);
    let put = server
        .seen()
        .into_iter()
        .find(|seen| seen.method == "PUT")
        .unwrap();
    let digest = layer(&bytes).digest.to_string().replace(':', "%3A");
    let path = format!("/v2/image/blobs/uploads/upload?state=1&digest={digest}");
    assert_eq!(put.path, path);
}

#[test]
fn a_blob_too_large_for_one_piece_goes_in_chunks() {
    let bytes = noise(20 << 20);
    let expected = bytes.clone();
    let taken = std::sync::Mutex::new(Vec::<u8>::new());
    let server = Fake::start(move |request, _| {
        let mut taken = taken.lock().unwrap();
        match request.method.as_str() {
            "HEAD" => reply("404 Not Found", "", b""),
            "POST" => reply("202 Accepted", "Location: /up/0\r\n", b""),
            "PATCH" => {
                let range = format!("{}-{}", taken.len(), taken.len() + request.body.len() - 1);
                if request.header("content-range") != Some(range.as_str()) {
                    return reply("416 Range Not Satisfiable", "", b"");
                }
                taken.extend(&request.body);
                reply(
                    "202 Accepted",
                    &format!("Location: /up/{}\r\n", taken.len()),
                    b"",
                )
            }
            "PUT" if !request.body.is_empty() => reply("413 Content Too Large", "", b""),
            "PUT" if *taken == expected => reply("201 Created", "", b""),
            "PUT" => reply("400 Bad Request", "", b""),
            _ => reply("200 OK", "", b""),
        }
    });
    let copy = bytes.clone();
    let upload = Upload {
        descriptor: &layer(&bytes),
        mount_from: &[],
        open: &move || Ok(Box::new(std::io::Cursor::new(copy.clone()))),
        progress: &|_| {},
    };
    anonymous().upload_blob(&name(&server), &upload).unwrap();
}

#[test]
fn an_upload_is_not_sent_to_another_host_with_credentials() {
    let bytes = noise(1_000);
    let elsewhere = Fake::start(|_, _| reply("201 Created", "", b""));
    let target = format!("http://{}/up", elsewhere.host());
    let server = Fake::start(move |request, _| {
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => reply(
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"r\"\r\n",
                b"",
            ),
            (_, "POST") => reply("202 Accepted", &format!("Location: {target}\r\n"), b""),
            _ => reply("404 Not Found", "", b""),
        }
    });
    let copy = bytes.clone();
    let upload = Upload {
        descriptor: &layer(&bytes),
        mount_from: &[],
        open: &move || Ok(Box::new(std::io::Cursor::new(copy.clone()))),
        progress: &|_| {},
    };
    let client = as_user(&server.host(), "joe", "secret");
    client.upload_blob(&name(&server), &upload).unwrap();
    let there = elsewhere.seen();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].header("authorization"), None);
    assert_eq!(there[0].body, bytes);
}

#[test]
fn a_proxy_is_asked_and_not_the_name_servers() {
    let proxy = Fake::start(|_, _| reply("403 Forbidden", "", b""));
    let mut config = config();
    let entry = registry::RegistryEntry {
        insecure: true,
        ..Default::default()
    };
    config
        .registries
        .insert("registry.example:5000".to_owned(), entry);
    config.proxy.http = Some(format!("http://{}", proxy.host()));
    config.proxy.https = config.proxy.http.clone();
    let client = Client::new(config.clone(), CredentialSource::None);
    let name = reference("registry.example:5000/image:v1");
    let platform = Platform::new("linux", "amd64");
    let error = client.resolve(&name, &platform).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("connect to registry.example:5000: the proxy refuses"),
        "{error}"
    );
    assert!(proxy.seen().iter().all(|seen| seen.method == "CONNECT"));
    assert_eq!(proxy.seen()[0].path, "registry.example:5000");

    // What is named is reached directly: here, not at all.
    config.proxy.no_proxy = Some("registry.example".to_owned());
    let before = proxy.seen().len();
    let client = Client::new(config, CredentialSource::None);
    assert!(client.resolve(&name, &platform).is_err());
    assert_eq!(proxy.seen().len(), before);
}
