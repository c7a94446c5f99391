//! The runtime with real components.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests: a failure is to be loud, in helpers too"
)]

mod cache;
mod conformance;
mod hostile;
mod languages;
mod samples;
mod smoke;
mod support;
