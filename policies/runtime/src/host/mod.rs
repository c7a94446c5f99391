//! What the host does for guests, an interface of the ABI in each file.

mod body;
mod config;
pub(crate) mod fields;
mod http_client;
mod key_value;
pub(crate) mod log;
mod metadata;
mod metrics;
mod request;
mod response;
pub(crate) mod wasi;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::abi::types;

// An instance has one of each before it, so that a handle says which and nothing more.

/// The request.
pub(crate) const REQUEST: u32 = 0;
/// Where it goes.
pub(crate) const UPSTREAM: u32 = 1;
/// The response.
pub(crate) const RESPONSE: u32 = 2;
/// The body that came as a whole.
pub(crate) const BUFFER: u32 = 3;
/// The body that comes.
pub(crate) const READER: u32 = 4;
/// The body that goes.
pub(crate) const WRITER: u32 = 5;

/// A moment as guests have it.
fn datetime(time: SystemTime) -> types::Datetime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    types::Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    }
}
