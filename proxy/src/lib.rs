//! The Fleetway proxy.
//!
//! Configuration comes in one way: [`xds`] → [`snapshot`] (build, then one swap). Requests go one
//! way: [`listener`] → [`connection`] → [`http`] → [`route`] → [`cluster`] → [`upstream`], and
//! back.

mod access_log;
mod address;
pub mod admin;
pub mod admission;
pub mod app;
mod clock;
pub mod cluster;
pub mod config;
pub mod connection;
mod date;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod handover;
mod held;
pub mod http;
pub mod http1;
pub mod http2;
pub mod listener;
pub mod overload;
pub mod policy;
pub mod proxy_protocol;
pub mod relay;
pub mod route;
pub mod runtime;
mod sending;
pub mod snapshot;
pub mod state;
pub mod telemetry;
#[cfg(test)]
mod tidy;
pub mod tls;
pub mod upstream;
mod worker;
pub mod xds;
