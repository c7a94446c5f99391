//! The Fleetway proxy.

pub mod snapshot;
pub mod xds;
