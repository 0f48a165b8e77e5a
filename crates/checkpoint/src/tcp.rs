//! What taking a connection away and making it again have in common: numbers
//! of linux/tcp.h.

pub(crate) const SO_REUSEADDR: i32 = 2;
/// Level and protocol.
pub(crate) const TCP: i32 = 6;
pub(crate) const TCP_REPAIR: i32 = 19;
pub(crate) const TCP_REPAIR_QUEUE: i32 = 20;
pub(crate) const TCP_QUEUE_SEQ: i32 = 21;
pub(crate) const TCP_TIMESTAMP: i32 = 24;
pub(crate) const TCP_REPAIR_WINDOW: i32 = 29;
/// Out of repair, without a packet that asks the peer for its window.
pub(crate) const REPAIR_OFF: i32 = -1;
/// Queues.
pub(crate) const RECEIVE: i32 = 1;
pub(crate) const SEND: i32 = 2;
