//! Listening sockets: which there are, and what comes in on them.

mod accept;
mod inherited;
mod reconcile;
mod socket;

pub use accept::{Terms, accept};
pub use inherited::Inherited;
pub use reconcile::{Plan, Sockets};
