//! The Fleetway proxy.

pub mod snapshot;
