//! TLS towards clients, made from the secrets of a snapshot.

mod certificates;
mod terminate;

pub use terminate::Terminate;
