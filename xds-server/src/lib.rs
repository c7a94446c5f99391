//! The Fleetway management server: keeps the fleet's configuration and pushes it to the proxies.
//!
//! A write goes one way: [`rest`] → [`commit`] (validate, then one transaction of the [`store`])
//! → the next [`snapshot`] → each proxy's stream. The store knows nothing of streams.

pub mod app;
pub mod commit;
pub mod config;
pub mod delta;
pub mod fleet;
pub mod metrics;
pub mod rest;
pub mod retention;
pub mod snapshot;
pub mod store;
pub mod tls;
