//! Which options of sockets are carried: those that are plain values, set
//! again as they were read.

use super::schema::Socket;
use crate::tcp::TCP;

pub(crate) const SOL_SOCKET: i32 = 1;
const IP: i32 = 0;
const UDP: i32 = 17;
const IPV6: i32 = 41;
const RAW: i32 = 255;
const NETLINK: i32 = 270;
const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;
const SOCK_STREAM: i32 = 1;
const SOCK_RAW: i32 = 3;

/// Netlink protocols without a state of their own: routes, diagnosis, events
/// of devices, generic.
pub(crate) const NETLINK_CARRIED: [i32; 4] = [0, 4, 15, 16];

/// Bytes of the longest value.
const VALUE_MAX: usize = 32;

/// Reuse of addresses (2, 15), broadcast, routing, keep-alive, out-of-band in
/// line, checksums, priority, linger, credentials, low mark, timeouts, times,
/// device, security, mark, overflow, peek offset, no fragments, waiting,
/// pacing.
const ALL: [(i32, usize); 22] = [
    (2, 4),
    (15, 4),
    (6, 4),
    (5, 4),
    (9, 4),
    (10, 4),
    (11, 4),
    (12, 4),
    (13, 8),
    (16, 4),
    (18, 4),
    (20, 16),
    (21, 16),
    (29, 4),
    (35, 4),
    (25, 16),
    (34, 4),
    (36, 4),
    (40, 4),
    (42, 4),
    (46, 4),
    (47, 8),
];

/// Type of service, lifetime, packet information, path discovery, errors,
/// received lifetime and service, binding to what is not here, transparency,
/// original destination, least lifetime, late ports, multicast, device, ports.
const OF_IP: [(i32, usize); 16] = [
    (1, 4),
    (2, 4),
    (6, 4),
    (7, 4),
    (8, 4),
    (10, 4),
    (11, 4),
    (12, 4),
    (13, 4),
    (15, 4),
    (19, 4),
    (20, 4),
    (21, 4),
    (24, 4),
    (50, 4),
    (51, 4),
];

/// The same for version 6, and whether it is that alone.
const OF_IPV6: [(i32, usize); 16] = [
    (26, 4),
    (16, 4),
    (23, 4),
    (25, 4),
    (49, 4),
    (51, 4),
    (62, 4),
    (66, 4),
    (67, 4),
    (70, 4),
    (72, 4),
    (73, 4),
    (75, 4),
    (76, 4),
    (78, 4),
    (56, 4),
];

/// Device, lifetime, loop, all of multicast: of no use to streams.
const OF_MULTICAST: [(i32, usize); 4] = [(32, 4), (33, 4), (34, 4), (49, 4)];
const OF_MULTICAST6: [(i32, usize); 4] = [(17, 4), (18, 4), (19, 4), (29, 4)];

/// No delay, cork, keep-alive, attempts, linger, deferred accept, congestion
/// control, timeout, fast open, low mark of what is unsent.
const OF_TCP: [(i32, usize); 12] = [
    (1, 4),
    (3, 4),
    (4, 4),
    (5, 4),
    (6, 4),
    (7, 4),
    (8, 4),
    (9, 4),
    (13, 16),
    (18, 4),
    (23, 4),
    (25, 4),
];

/// Cork, encapsulation, segments and their joining.
const OF_UDP: [(i32, usize); 4] = [(1, 4), (100, 4), (103, 4), (104, 4)];

/// Packet information, errors of broadcasts, overflow, answers.
const OF_NETLINK: [(i32, usize); 6] = [(3, 4), (4, 4), (5, 4), (10, 4), (11, 4), (12, 4)];

/// Names of one level, and the most bytes of each.
type Table = &'static [(i32, usize)];

/// Level, name and the most bytes of each.
pub(crate) fn of(socket: &Socket) -> impl Iterator<Item = (i32, i32, usize)> + use<> {
    let is_inet = socket.domain == 2 || socket.domain == AF_INET6;
    let is_raw = socket.kind == SOCK_RAW;
    let is_stream = socket.kind == SOCK_STREAM;
    let tables: [(bool, i32, Table); 9] = [
        (true, SOL_SOCKET, &ALL),
        (is_inet, IP, &OF_IP),
        (socket.domain == AF_INET6, IPV6, &OF_IPV6),
        (is_inet && !is_stream, IP, &OF_MULTICAST),
        (
            socket.domain == AF_INET6 && !is_stream,
            IPV6,
            &OF_MULTICAST6,
        ),
        (is_inet && socket.protocol == TCP, TCP, &OF_TCP),
        (is_inet && socket.protocol == UDP, UDP, &OF_UDP),
        (is_inet && is_raw, RAW, &[(1, 4)]),
        (socket.domain == AF_NETLINK, NETLINK, &OF_NETLINK),
    ];
    tables
        .into_iter()
        .filter(|(fits, ..)| *fits)
        .flat_map(|(_, level, options)| {
            options
                .iter()
                .map(move |(name, room)| (level, *name, *room))
        })
}

/// Whether a checkpoint may have it: one of the above, or the size of a
/// buffer; and its hex is no longer than any value.
pub(crate) fn is_known(socket: &Socket, level: i32, name: i32, hex: &str) -> bool {
    let is_size = level == SOL_SOCKET && (name == 7 || name == 8);
    hex.len() <= VALUE_MAX * 2
        && (is_size || of(socket).any(|(known, number, _)| (known, number) == (level, name)))
}
