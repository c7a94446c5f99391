//! The Fleetway proxy.

pub mod http1;
pub mod route;
pub mod snapshot;
pub mod xds;
