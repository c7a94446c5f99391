//! HTTP/1.1 on both sides of the proxy (RFC 9112), for one connection at a time.
//!
//! [`serve`] is the side of the clients and [`Connection`] that of the upstreams. Both are strict:
//! a message about whose end two implementations could disagree is refused, never repaired.
//!
//! Everything here lives on one thread; no type is `Send`.

mod body;
mod buffer;
mod client;
mod date;
mod drain;
mod head;
mod server;

pub use body::{BodyError, LengthMismatch};
pub use client::{ClientConfig, Connection, Hooks, ResponseBody, SendError, SendErrorKind};
pub use drain::{Drain, DrainWatch};
pub use head::{HeadError, HeadLimits, MAX_FIELDS};
pub use server::{
    ConnectionError, Interim, InterimError, RequestBody, ServerConfig, serve, serve_with_abort,
};

#[cfg(test)]
mod tests;
