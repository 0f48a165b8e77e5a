//! The two ends of a connection and a client of a name server, to measure networks with: the same program inside the containers of
//! every engine and outside of them. It is static, so any image can carry it.
//!
//! `xtask traffic serve PORT`, `xtask traffic send HOST:PORT SECONDS` (prints bytes per second),
//! `xtask traffic lookup NAME TIMES` (prints the median in nanoseconds).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// What one read or write takes at most, in bytes.
const CHUNK: usize = 256 << 10;
/// Nothing waits longer for the other side.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", port] => serve(number(port)?),
        ["send", address, seconds] => send(address, Duration::from_secs(number(seconds)?))
            .map(|rate| println!("{rate:.0}"))
            .map_err(|error| format!("send to {address}: {error}")),
        ["lookup", name, times] => lookup(name, number(times)?)
            .map(|median| println!("{}", median.as_nanos()))
            .map_err(|error| format!("ask for {name}: {error}")),
        _ => {
            Err("usage: traffic serve PORT | send HOST:PORT SECONDS | lookup NAME TIMES".to_owned())
        }
    }
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// Reads whatever comes and answers, at its end, how many bytes it was.
fn serve(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind(("0.0.0.0", port))
        .map_err(|error| format!("listen on {port}: {error}"))?;
    for stream in listener.incoming() {
        // A client that gives up is no reason to end.
        let _ = stream.and_then(swallow);
    }
    Ok(())
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total: u64 = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => total += u64::try_from(count).unwrap_or_default(),
        }
    }
    stream.write_all(&total.to_be_bytes())
}

/// Bytes per second that arrived there.
fn send(address: &str, duration: Duration) -> io::Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let buffer = vec![0x5a; CHUNK];
    let start = Instant::now();
    while start.elapsed() < duration {
        stream.write_all(&buffer)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    let total = u64::from_be_bytes(total);
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

/// Median time from a question for an IPv4 address (RFC 1035) to its answer.
fn lookup(name: &str, times: usize) -> io::Result<Duration> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((server()?.as_str(), 53))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 512];
    let mut took = Vec::with_capacity(times);
    for turn in 0..times.max(1) {
        let id = u16::try_from(turn & 0xffff).unwrap_or_default();
        let question = question(id, name);
        let start = Instant::now();
        socket.send(&question)?;
        let length = socket.recv(&mut answer)?;
        took.push(start.elapsed());
        let answers = u16::from_be_bytes([answer[6], answer[7]]);
        let code = answer[3] & 0xf;
        if length < 12 || answer[..2] != question[..2] || code != 0 || answers == 0 {
            return Err(io::Error::other(format!("no address, code {code}")));
        }
    }
    took.sort();
    Ok(took[took.len() / 2])
}

/// The first server of resolv.conf(5).
fn server() -> io::Result<String> {
    let text = std::fs::read_to_string("/etc/resolv.conf")?;
    let server = text
        .lines()
        .find_map(|line| line.strip_prefix("nameserver "));
    server
        .map(|server| server.trim().to_owned())
        .ok_or_else(|| io::Error::other("/etc/resolv.conf names no server"))
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(64);
    packet.extend(id.to_be_bytes());
    // Recursion desired; one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or_default());
        packet.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn what_is_sent_is_what_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server =
            std::thread::spawn(move || super::swallow(listener.accept().expect("a client").0));
        let rate = super::send(&address, Duration::from_millis(1)).expect("a rate");
        assert!(rate > 0.0);
        server.join().expect("a thread").expect("a count");
    }

    #[test]
    fn a_question_is_a_packet_of_dns() {
        let packet = super::question(7, "web.front");
        assert_eq!(
            packet,
            b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\x05front\0\0\x01\0\x01"
        );
    }
}
