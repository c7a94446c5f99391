//! The Fleetway proxy.

pub mod route;
pub mod snapshot;
