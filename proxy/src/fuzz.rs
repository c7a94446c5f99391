//! What has to hold of the parsers whatever bytes they are given, one function for each target of
//! `proxy/fuzz`.
//!
//! A property is beside the parser it is about. Here they come together: the fuzzer calls them with
//! inputs it makes, the test below with the seeds and with what is easily made of those. An input
//! that once broke a property stays among the seeds.
//!
//! Not part of the program: built for tests and for the fuzzer alone.

mod documents;

pub use self::documents::documents;
pub use crate::{
    connection::fuzz::client_hello,
    http::fuzz::{headers, path},
    http1::fuzz::{chunked, request_head, response_head},
    proxy_protocol::fuzz::proxy_protocol,
    route::fuzz::rewrite,
    xds::fuzz::last_good,
};

/// A target: its name, and what has to hold of every input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("chunked", chunked),
    ("client_hello", client_hello),
    ("documents", documents),
    ("headers", headers),
    ("last_good", last_good),
    ("path", path),
    ("proxy_protocol", proxy_protocol),
    ("request_head", request_head),
    ("response_head", response_head),
    ("rewrite", rewrite),
];

#[cfg(test)]
mod tests;
