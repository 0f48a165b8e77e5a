//! The loop: questions in, answers out, one thread.
//!
//! A question by UDP that goes elsewhere gets a socket of its own, connected
//! to the server that is asked: its port is the kernel's choice, its number
//! random, and nobody but that server is heard on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use state::ResolverJob;
use sys::{Context as _, Result};

use crate::answer::{Verdict, decide};
use crate::message::{Code, Query, Transport, code_of, renumber};
use crate::streams::Streams;
use crate::table::Table;
use crate::upstream::{Upstream, places};

/// Questions that wait for others' answers at a time, of all clients and of
/// one.
const PENDING_MAX: usize = 512;
const PENDING_MAX_EACH: usize = 64;
/// How long one server is given.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the list of servers is gone through.
const ROUNDS: usize = 2;
/// Messages read before others get their turn.
const BATCH: usize = 64;
/// The largest datagram.
const MESSAGE_MAX: usize = 65_535;
/// So long nothing may happen.
const IDLE: Duration = Duration::from_mins(1);

/// Answers until it is killed. `udp` and `tcp` are bound, `tcp` listens; both
/// do not block.
pub fn serve(job: &ResolverJob, udp: OwnedFd, tcp: OwnedFd) -> Result<()> {
    let mut server = Server {
        table: Table::open(&job.leases, &job.network)?,
        upstream: Upstream::new(job.resolv_conf.clone()),
        forwards: job.forwards,
        udp: UdpSocket::from(udp),
        pending: Vec::new(),
        turn: 0,
        buffer: vec![0; MESSAGE_MAX],
    };
    let mut streams = Streams::new(tcp);
    loop {
        server.round(&mut streams)?;
    }
}

/// Everything but the connections.
#[derive(Debug)]
pub(crate) struct Server {
    table: Table,
    upstream: Upstream,
    forwards: bool,
    udp: UdpSocket,
    pending: Vec<Pending>,
    turn: usize,
    buffer: Vec<u8>,
}

/// A question that waits for somebody else's answer.
#[derive(Debug)]
struct Pending {
    client: SocketAddr,
    query: Query,
    /// As it came.
    message: Vec<u8>,
    servers: Vec<SocketAddr>,
    /// How many were asked.
    asked: usize,
    socket: UdpSocket,
    id: u16,
    deadline: Instant,
}

impl Server {
    fn round(&mut self, streams: &mut Streams) -> Result<()> {
        let now = Instant::now();
        let mut fds = vec![
            PollFd::new(&self.udp, PollFlags::IN),
            PollFd::from_borrowed_fd(self.table.changes(), PollFlags::IN),
        ];
        for pending in &self.pending {
            fds.push(PollFd::new(&pending.socket, PollFlags::IN));
        }
        let first_stream = fds.len();
        streams.poll_fds(&mut fds);
        let wake = self
            .pending
            .iter()
            .map(|pending| pending.deadline)
            .chain(streams.deadline())
            .min()
            .map_or(IDLE, |deadline| deadline.saturating_duration_since(now))
            // A hair later, so that it is over by then.
            + Duration::from_millis(1);
        let timeout = Timespec {
            tv_sec: i64::try_from(wake.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(wake.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for questions"),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        // Before the questions: what is true now is what is answered.
        if !ready[1].is_empty() {
            self.table.refresh();
        }
        if !ready[0].is_empty() {
            self.read_questions();
        }
        let count = first_stream - 2;
        self.read_answers(&ready[2..2 + count]);
        streams.work(self, &ready[first_stream..]);
        Ok(())
    }

    fn read_questions(&mut self) {
        for _ in 0..BATCH {
            let Ok((length, client)) = self.udp.recv_from(&mut self.buffer) else {
                return;
            };
            let message = self.buffer[..length].to_vec();
            match self.decide(&message, client, Transport::Udp) {
                Verdict::Ignore => {}
                Verdict::Answer(answer) => self.say(&answer, client),
                Verdict::Forward(query, own) => self.forward(query, message, client, &own),
            }
        }
    }

    /// What becomes of a message.
    pub(crate) fn decide(
        &mut self,
        message: &[u8],
        client: SocketAddr,
        transport: Transport,
    ) -> Verdict {
        let IpAddr::V4(address) = client.ip() else {
            return Verdict::Ignore;
        };
        self.turn = self.turn.wrapping_add(1);
        let about: (Ipv4Addr, _, _) = (address, transport, self.turn);
        decide(&mut self.table, self.forwards, message, about)
    }

    /// Whom to ask for a client: its own servers, or the host's.
    pub(crate) fn servers(&mut self, own: &[IpAddr]) -> Vec<SocketAddr> {
        if own.is_empty() {
            self.upstream.servers().to_vec()
        } else {
            places(own)
        }
    }

    fn say(&self, answer: &[u8], client: SocketAddr) {
        // Whoever does not take it asks again.
        let _ = self.udp.send_to(answer, client);
    }

    fn forward(&mut self, query: Query, message: Vec<u8>, client: SocketAddr, own: &[IpAddr]) {
        let of_client = |pending: &&Pending| pending.client.ip() == client.ip();
        if self.pending.len() >= PENDING_MAX
            || self.pending.iter().filter(of_client).count() >= PENDING_MAX_EACH
        {
            return;
        }
        let servers = self.servers(own);
        match ask(&servers, 0, &message) {
            Some((asked, socket, id)) => self.pending.push(Pending {
                client,
                query,
                message,
                servers,
                asked,
                socket,
                id,
                deadline: Instant::now() + PATIENCE,
            }),
            None => self.say(
                &query.answer(Code::ServerFailure, &[], Transport::Udp),
                client,
            ),
        }
    }

    /// `ready` has one entry for each of the first pending questions.
    fn read_answers(&mut self, ready: &[PollFlags]) {
        let now = Instant::now();
        let mut index = 0;
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain_mut(|one| {
            let is_ready = ready.get(index).is_some_and(|flags| !flags.is_empty());
            index += 1;
            if is_ready && let Some(answer) = one.receive(&mut self.buffer) {
                let is_last = one.asked >= one.servers.len() * ROUNDS;
                // Another server may know better.
                if is_last || !matches!(code_of(&answer), Some(2 | 5)) {
                    self.say(&answer, one.client);
                    return false;
                }
                return self.ask_next(one, now);
            }
            one.deadline > now || self.ask_next(one, now)
        });
        // Questions that came meanwhile.
        pending.append(&mut self.pending);
        self.pending = pending;
    }

    /// Asks the next server; false if there is none, and that is said.
    fn ask_next(&self, one: &mut Pending, now: Instant) -> bool {
        if let Some((asked, socket, id)) = ask(&one.servers, one.asked, &one.message) {
            one.asked = asked;
            one.socket = socket;
            one.id = id;
            one.deadline = now + PATIENCE;
            return true;
        }
        let failure = one.query.answer(Code::ServerFailure, &[], Transport::Udp);
        self.say(&failure, one.client);
        false
    }
}

impl Pending {
    /// The answer, if it is one to this question, with the client's number.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Vec<u8>> {
        let length = self.socket.recv(buffer).ok()?;
        let mut answer = buffer[..length].to_vec();
        if !self.query.is_answered_by(&answer, self.id) {
            return None;
        }
        renumber(&mut answer, self.query.id);
        Some(answer)
    }
}

/// Asks the first server from place `from` on that can be sent to; gives how
/// many were tried, where to listen, and the number of the question.
fn ask(servers: &[SocketAddr], from: usize, message: &[u8]) -> Option<(usize, UdpSocket, u16)> {
    for place in from..servers.len() * ROUNDS {
        let mut random = [0; 2];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
        let id = u16::from_ne_bytes(random);
        let mut message = message.to_vec();
        renumber(&mut message, id);
        let server = servers[place % servers.len()];
        let send = || -> std::io::Result<UdpSocket> {
            let any: IpAddr = if server.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(server)?;
            socket.send(&message)?;
            Ok(socket)
        };
        if let Ok(socket) = send() {
            return Some((place + 1, socket, id));
        }
    }
    None
}
