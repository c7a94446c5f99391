//! The Fleetway proxy.

pub mod route;
