//! What holds of HTTP/1.1, whatever comes.

mod chunked;
mod heads;

pub use chunked::chunked;
pub use heads::{request_head, response_head};
