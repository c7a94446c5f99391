//! The discovery streams: each connected proxy is sent what changed, whole revisions at a time.
//!
//! [`subscription`] is what a client asked for, [`diff`] what it needs to hold a newer state,
//! [`session`] the protocol without input or output, [`stream`] gRPC around it. The protocol is
//! the incremental variant of xDS over one aggregated stream; `docs/xds.md` tells a client's side.

mod claims;
mod codec;
pub mod diff;
mod facts;
mod incoming;
mod push;
mod repeats;
mod request;
pub mod session;
mod stream;
pub mod subscription;
#[cfg(test)]
pub(crate) mod testing;

pub use codec::Response;
pub use facts::{Facts, Identity, InFlight, Mode, Refusal, Tally};
pub use request::{BARRIER_FEATURE, BARRIER_NAME, Close};
pub use session::{Exposure, Session};
pub use stream::{Options, router, serve};
