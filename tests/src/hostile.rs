//! A registry that answers what a test tells it to: truncated blobs, wrong digests, silence. Also serves tokens.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::image::{ImageBuilder, sha256};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    query: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A parameter of the query, decoded; several of one name are joined by spaces.
    pub fn query(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
            .collect();
        (!values.is_empty()).then(|| values.join(" "))
    }
}

/// What to send back.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    cut: Option<usize>,
    /// Bytes per second, to make a transfer last.
    rate: Option<usize>,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
            rate: None,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", media_type)
    }

    pub fn json(self, value: &serde_json::Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// Hangs up after so many bytes of the body, having promised all of them.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub fn slowly(mut self, bytes_per_second: usize) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }
}

/// A server on loopback that lives until it is dropped.
pub struct HostileRegistry {
    pub address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl HostileRegistry {
    /// Answers each request by calling `answer`, which may be called from several threads.
    pub fn start(
        address: &str,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopped, record, answer) = (Arc::clone(&stop), Arc::clone(&seen), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((connection, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                std::thread::spawn(move || drop(serve(connection, &*answer, &record)));
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
            seen,
        }
    }

    /// Serves an image under any name and tag, each answer changed by `change` on its way out.
    pub fn serving(
        image: &ImageBuilder,
        change: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let plain = plain_answers(image);
        Self::start("127.0.0.1:0", move |request| {
            change(request, plain(request))
        })
    }

    /// All requests up to now.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for HostileRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What an honest registry answers that has this image under every name and tag.
pub fn plain_answers(image: &ImageBuilder) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    let manifest = image.manifest();
    let mut blobs: BTreeMap<String, Vec<u8>> = image
        .layers
        .iter()
        .map(|layer| (layer.digest(), layer.blob.clone()))
        .collect();
    let configuration = image.configuration();
    blobs.insert(sha256(&configuration), configuration);
    move |request| {
        if request.path == "/v2/" {
            Answer::new(200).json(&serde_json::json!({}))
        } else if request.path.contains("/manifests/") {
            Answer::new(200)
                .header("Docker-Content-Digest", &sha256(&manifest))
                .body(
                    "application/vnd.oci.image.manifest.v1+json",
                    manifest.clone(),
                )
        } else if let Some(blob) = request
            .path
            .rsplit('/')
            .next()
            .and_then(|digest| blobs.get(digest))
        {
            blob_answer(request, blob)
        } else {
            Answer::new(404).json(
                &serde_json::json!({ "errors": [{ "code": "NOT_FOUND", "message": "not found" }] }),
            )
        }
    }
}

/// A blob, or what of it the Range header asks for.
fn blob_answer(request: &Request, blob: &[u8]) -> Answer {
    let media_type = "application/octet-stream";
    let range = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let Some(start) = range
        .and_then(|range| range.split('-').next())
        .and_then(|start| start.parse::<usize>().ok())
    else {
        return Answer::new(200).body(media_type, blob);
    };
    if start >= blob.len() {
        return Answer::new(416);
    }
    Answer::new(206)
        .header(
            "Content-Range",
            &format!("bytes {start}-{}/{}", blob.len() - 1, blob.len()),
        )
        .body(media_type, &blob[start..])
}

fn serve(
    connection: TcpStream,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
    record: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    while let Some(request) = read_request(&mut reader)? {
        record.lock().unwrap().push(request.clone());
        let answer = answer(&request);
        let mut head = format!(
            "HTTP/1.1 {} -\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        writer.write_all(head.as_bytes())?;
        if request.method == "HEAD" {
            continue;
        }
        let end = answer
            .cut
            .map_or(answer.body.len(), |cut| cut.min(answer.body.len()));
        match answer.rate {
            None => writer.write_all(&answer.body[..end])?,
            Some(rate) => {
                for piece in answer.body[..end].chunks((rate / 20).max(1)) {
                    writer.write_all(piece)?;
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        if answer.cut.is_some() {
            return writer.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (decode(path), query.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse::<u64>().ok())
        .unwrap_or(0);
    std::io::copy(
        &mut std::io::Read::take(reader, length),
        &mut std::io::sink(),
    )?;
    Ok(Some(Request {
        method,
        path,
        query,
        headers,
    }))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.extend(u8::from_str_radix(&digits, 16));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
