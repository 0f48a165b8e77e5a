//! As much of PostgreSQL's protocol (version 3) as one question takes: no program is started for it, whose time would count.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Asks again until there is an answer: the first column of the last row, nothing if there is none.
pub(crate) fn ask_until_answered(server: SocketAddr, question: &str) -> Result<String, String> {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match ask(server, question) {
            Ok(answer) => return Ok(answer),
            Err(reason) if Instant::now() > end => return Err(format!("{question}: {reason}")),
            // As a client that waits for its database does.
            Err(_) => std::thread::sleep(Duration::from_micros(500)),
        }
    }
}

fn ask(server: SocketAddr, question: &str) -> Result<String, String> {
    let mut connection = Connection::open(server)?;
    connection.until_ready()?;
    let mut message = question.as_bytes().to_vec();
    message.push(0);
    connection.send(Some(b'Q'), &message)?;
    let answer = connection.until_ready();
    let _ = connection.send(Some(b'X'), &[]);
    answer.map(Option::unwrap_or_default)
}

struct Connection(TcpStream);

impl Connection {
    fn open(server: SocketAddr) -> Result<Self, String> {
        let limit = Duration::from_secs(10);
        let stream = TcpStream::connect_timeout(&server, limit).map_err(|e| e.to_string())?;
        stream
            .set_read_timeout(Some(limit))
            .map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut connection = Self(stream);
        // Version 3.0, and who we are; trusted.
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        startup.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
        connection.send(None, &startup)?;
        Ok(connection)
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), String> {
        let length = u32::try_from(body.len() + 4).map_err(|e| e.to_string())?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.0.write_all(&message).map_err(|e| e.to_string())
    }

    /// Reads until the server is ready for a question; the first column of the last row that came.
    fn until_ready(&mut self) -> Result<Option<String>, String> {
        let mut row = None;
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).map_err(|e| e.to_string())?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let length = usize::try_from(length).map_err(|e| e.to_string())?;
            let mut body = vec![0; length.saturating_sub(4)];
            self.0.read_exact(&mut body).map_err(|e| e.to_string())?;
            match head[0] {
                // Two bytes that say how many columns, four how long this one is.
                b'D' => {
                    let first = body.get(6..);
                    row = first.map(|text| String::from_utf8_lossy(text).into_owned());
                }
                b'E' => return Err(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => return Ok(row),
                _ => {}
            }
        }
    }
}
