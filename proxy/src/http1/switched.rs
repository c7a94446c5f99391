//! What HTTP leaves of a connection once it has switched to another protocol.

use bytes::Bytes;

/// A connection that is HTTP no more: after a 101, or a 2xx to CONNECT.
#[derive(Debug)]
pub struct Switched<I> {
    /// The transport. Nothing is queued for it any more.
    pub io: I,
    /// What was read behind the last of HTTP: the first of the other protocol.
    pub read: Bytes,
}
