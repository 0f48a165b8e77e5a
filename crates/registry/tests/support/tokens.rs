//! A token server in the manner of Docker Hub's: signs JWTs that the real
//! registry checks.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::fake::{Fake, Seen, reply};

/// Knows `joe` with password `secret` (who may do anything), a refresh token
/// `refresh`, and nobody, who may pull from `public`.
pub fn start(directory: &Path) -> Fake {
    super::self_signed(directory);
    let directory = directory.to_owned();
    Fake::start(move |request, count| answer(&directory, request, count))
}

fn answer(directory: &Path, request: &Seen, count: usize) -> Vec<u8> {
    let joe = format!("Basic {}", STANDARD.encode("joe:secret"));
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let known = match request.header("authorization") {
        Some(header) if header == joe => true,
        Some(_) => return reply("401 Unauthorized", "", b"{}"),
        None if request.method == "POST" => {
            if !form.contains("grant_type=refresh_token") || !form.contains("refresh_token=refresh")
            {
                return reply("401 Unauthorized", "", b"{}");
            }
            true
        }
        None => false,
    };
    let query = request
        .path
        .split_once('?')
        .map_or(form.as_str(), |(_, query)| query);
    let scopes = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="))
        .map(decode)
        .flat_map(|scopes| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let access: Vec<_> = scopes
        .filter_map(|scope| {
            let mut parts = scope.split(':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            let actions: Vec<_> = actions
                .split(',')
                .filter(|action| known || (name == "public" && *action == "pull"))
                .collect();
            Some(serde_json::json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    let token = sign(directory, &serde_json::json!(access), count);
    let body = serde_json::json!({"token": token, "expires_in": 120});
    reply(
        "200 OK",
        "Content-Type: application/json\r\n",
        body.to_string().as_bytes(),
    )
}

fn sign(directory: &Path, access: &serde_json::Value, count: usize) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let pem = std::fs::read_to_string(directory.join("cert.pem")).unwrap();
    let certificate: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let header = serde_json::json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let claims = serde_json::json!({
        "iss": "test", "sub": "", "aud": "test", "exp": now + 120, "nbf": now - 60, "iat": now,
        "jti": count.to_string(), "access": access,
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let input: PathBuf = directory.join(format!("signed-{count}"));
    std::fs::write(&input, &signed).unwrap();
    let key = directory.join("key.pem");
    let signature = super::openssl(
        &["dgst", "-sha256", "-sign", key.to_str().unwrap()],
        Some(&input),
    );
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn decode(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            decoded.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            decoded.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8(decoded).unwrap()
}
