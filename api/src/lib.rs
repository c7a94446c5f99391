//! What the management server, the proxy and the command line share: the validated resources,
//! the set they form together, and the documents people write them in.
//!
//! The way of the data is one way: text → [`document`] → message ([`fleetway_proto::v1`]) →
//! [`Resource`] (valid in itself) → [`ResourceSet`] (valid together). Past that border nobody
//! checks again. All three programs take it, so what the server accepts a proxy of the same
//! version applies.

#[cfg(feature = "bootstrap")]
pub mod bootstrap;
#[cfg(feature = "client")]
pub mod client;
pub mod document;
mod error;
pub mod files;
#[cfg(feature = "bootstrap")]
pub mod key_file;
mod kind;
#[cfg(feature = "linger")]
mod linger;
mod normalize;
mod resource;
pub mod rest;
mod set;

pub use error::{FieldError, Rejection, shortened};
pub use fleetway_proto as proto;
pub use kind::{Id, Kind, Name, NameError};
#[cfg(feature = "linger")]
pub use linger::{linger, poll_discard};
pub use normalize::{PathFault, normalize};
pub use resource::*;
pub use set::{Change, Entry, Invalid, ResourceSet};
