//! The Fleetway proxy.

pub mod http1;
