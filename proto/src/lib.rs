//! The one definition of Fleetway's resources, `fleetway/v1/*.proto`, as Rust types.
//!
//! The same messages are the wire form (protobuf, by prost) and the REST and file form (the strict
//! proto3 JSON mapping, by pbjson, with field names in snake_case and durations as people write
//! them). Nothing here is validated; that is the next crate's part.

mod duration;
mod redacted;
mod structure;
pub mod type_url;

pub use duration::{Duration, ParseDurationError};
pub use structure::{ListValue, Struct, Value, value};

/// The messages of package `fleetway.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "generated; the documentation is in the .proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/fleetway.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/fleetway.v1.serde.rs"));
}

/// The serialized `google.protobuf.FileDescriptorSet` of all messages, with source information:
/// the comments in it document the generated schemas.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
