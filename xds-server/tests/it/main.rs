//! The server from outside: started in-process on free ports, driven over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a failure is to be loud, in helpers too"
)]

mod binary;
mod certificates;
mod components;
mod config;
mod delta;
mod lists;
mod model;
mod openapi;
mod resources;
mod secrets;
mod secrets_at_rest;
mod support;
mod tls;
mod transactions;
mod waiting;
