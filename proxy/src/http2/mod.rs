//! HTTP/2 on both sides, over the `h2` library: it has the frames, the streams and their windows;
//! what a stream carries is here.

mod duplex;
mod heard;
mod ping;
mod receiving;
mod request;
mod sending;
mod server;

pub use duplex::Duplex;
pub use heard::Heard;
pub use ping::silence;
pub use receiving::Receiving;
pub use request::{Answer, Interim, RequestBody};
pub use sending::{Broken, Sending};
pub use server::{Server, ServerConfig, ServerError};
