//! End to end: the real programs as processes, on loopback, on free ports.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests: a failure is to be loud, in helpers too"
)]

mod atomicity;
mod cli;
mod durability;
mod http;
mod independence;
mod readme;
mod refusal;
mod support;
