//! HTTP/1.1 on both sides of the proxy (RFC 9112), for one connection at a time.
//!
//! [`serve`] is the side of the clients and [`Connection`] that of the upstreams. Both are strict:
//! a message about whose end two implementations could disagree is refused, never repaired.
//!
//! A proxy calls [`Connection::send`] from within the service it gives to [`serve`]: the
//! [`RequestBody`] is passed on as it is, [`Hooks::interim`] is answered with [`Interim::send`],
//! and the [`ResponseBody`] is returned. Bodies then flow frame by frame within one task, and
//! either side's pace holds back the other. What goes into the field maps beyond the framing
//! (`content-length`, `transfer-encoding`, `connection`'s `close` and `keep-alive`, `date`) is the
//! caller's, hop-by-hop fields included.
//!
//! A connection that switches protocols is handed over as [`Switched`]: by [`serve`] where the
//! service answered an upgrade with 101 or CONNECT with 2xx, by [`ResponseBody::into_switched`]
//! where the upstream answered an upgrade with 101. Nothing of the other protocol is sent before.
//!
//! Everything here lives on one thread; nothing need be `Send`.

mod body;
mod buffer;
mod client;
mod drain;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod head;
mod outbox;
mod piped;
mod server;
mod switched;
mod unwatched;
pub(crate) mod websocket;

pub use body::{BodyError, LengthMismatch};
pub(crate) use client::MAX_INTERIM;
pub use client::{ClientConfig, Connection, Hooks, ResponseBody, SendError, SendErrorKind};
pub use drain::{Drain, DrainWatch};
pub(crate) use head::is_host;
pub use head::{HeadError, HeadLimits, MAX_FIELDS};
pub(crate) use outbox::keep_delivering;
pub use piped::Piped;
pub use server::{
    ConnectionError, Interim, InterimError, RequestBody, ServerConfig, Transport, serve, serve_with,
};
pub use switched::Switched;
pub(crate) use unwatched::keep_ending_moments;

#[cfg(test)]
mod tests;
