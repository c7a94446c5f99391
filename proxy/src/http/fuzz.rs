//! What holds of paths and header fields, whatever comes.

mod fields;
mod paths;

pub use fields::headers;
pub use paths::path;
