//! End to end: the real programs as processes, on loopback, on free ports.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "tests: a failure is to be loud, in helpers too, and a story may be long"
)]

mod access_log;
mod atomicity;
mod auto;
mod cli;
mod client_certificates;
mod clusters;
mod components;
mod connect;
mod docs;
mod durability;
mod endings;
mod failing;
mod floods;
mod grpc;
mod h2spec;
mod handover;
mod header_rules;
mod http;
mod identity;
mod independence;
mod listeners;
mod policies;
mod policy_push;
mod protection;
mod readme;
mod refusal;
mod revocation;
mod rotation;
mod secrets;
mod smuggling;
mod soak;
mod support;
mod swaps;
mod tls;
mod tls_page;
mod told;
mod upgrades;
mod upstream_tls;
mod volume;
