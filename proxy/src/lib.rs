//! The Fleetway proxy.
