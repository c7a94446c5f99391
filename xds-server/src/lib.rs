//! The Fleetway management server.
