//! Names are looked up at a name server of our own, on port 53 of loopback
//! addresses that nobody else uses. Needs root for the port.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use registry::dns::Lookup;
use sys::ErrorKind;

/// A question's name as text, and where what follows the question starts.
fn question(query: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap());
        at += 1 + length;
    }
    (labels.join("."), at + 5)
}

enum Said<'a> {
    Addresses(&'a [[u8; 4]]),
    NoSuchName,
    Truncated,
}

fn answer(query: &[u8], said: &Said<'_>) -> Vec<u8> {
    let (_, end) = question(query);
    let asks_for_v4 = query[end - 3] == 1;
    let mut message = query[..end].to_vec();
    message[2] = 0x81;
    message[3] = 0x80;
    match said {
        Said::NoSuchName => message[3] |= 3,
        Said::Truncated => message[2] |= 2,
        Said::Addresses(addresses) if asks_for_v4 => {
            message[7] = u8::try_from(addresses.len()).unwrap();
            for address in *addresses {
                message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                message.extend(address);
            }
        }
        Said::Addresses(_) => {}
    }
    message
}

fn lookup(directory: &std::path::Path, server: &str, more: &str) -> Lookup {
    let resolv_conf = directory.join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {server}\n{more}")).unwrap();
    let hosts_file = directory.join("hosts");
    std::fs::write(&hosts_file, "10.9.9.9 named.example\n").unwrap();
    Lookup {
        hosts_file,
        resolv_conf,
        timeout: Duration::from_secs(5),
    }
}

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn asks_over_udp_and_tries_the_search_list() {
    let server = UdpSocket::bind("127.53.0.1:53").unwrap();
    let serving = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            let query = &buffer[..length];
            let (name, _) = question(query);
            // What comes first is an answer to nobody's question.
            server.send_to(b"nonsense", from).unwrap();
            let said = match name.as_str() {
                "reg.corp.example" => Said::Addresses(&[[10, 0, 0, 1], [10, 0, 0, 2]]),
                "stop.example" => return,
                _ => Said::NoSuchName,
            };
            server.send_to(&answer(query, &said), from).unwrap();
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let lookup = lookup(
        directory.path(),
        "127.53.0.1",
        "search corp.example\noptions timeout:1\n",
    );
    assert_eq!(
        lookup.addresses("reg").unwrap(),
        [v4("10.0.0.1"), v4("10.0.0.2")]
    );
    assert_eq!(lookup.addresses("Named.Example").unwrap(), [v4("10.9.9.9")]);
    let error = lookup.addresses("nothing.example").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "look up nothing.example: no such host");
    let _ = lookup.addresses("stop.example.");
    serving.join().unwrap();
}

#[test]
fn asks_again_over_tcp_when_an_answer_is_cut() {
    let server = UdpSocket::bind("127.53.0.2:53").unwrap();
    let listener = TcpListener::bind("127.53.0.2:53").unwrap();
    let cutting = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        for _ in 0..2 {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server
                .send_to(&answer(&buffer[..length], &Said::Truncated), from)
                .unwrap();
        }
    });
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            let all: Vec<[u8; 4]> = (0..40).map(|last| [10, 0, 1, last]).collect();
            let message = answer(&query, &Said::Addresses(&all));
            let length = u16::try_from(message.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            stream.write_all(&message).unwrap();
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let lookup = lookup(directory.path(), "127.53.0.2", "");
    let found = lookup.addresses("long.example").unwrap();
    assert_eq!(found.len(), 16);
    assert!(found.contains(&v4("10.0.1.0")));
    cutting.join().unwrap();
    serving.join().unwrap();
}
