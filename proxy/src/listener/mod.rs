//! Listening sockets: which there are, and what comes in on them.

mod accept;
mod balance;
mod deferred;
mod inherited;
mod reconcile;
mod socket;

pub use accept::{Terms, accept, take_over};
pub use balance::{Balance, Share};
pub use deferred::defer;
pub use inherited::Inherited;
pub use reconcile::{Plan, Sockets};
