//! The documents, the files, the client and the program `fleetway`, from outside.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may"
)]

mod cli;
mod conversation;
mod documents;
mod files;
mod messages;
mod policies;
mod round_trip;
