//! Which route takes a request, and what it makes of the request's path.
//!
//! [`RouteTable`] is the routes of one listener: table → virtual host (one per host pattern) →
//! paths and templates → conditions. [`rewrite`] computes the new path or the `Location` of a
//! redirect. All of it is pure; nothing here knows of clusters, policies or metrics.
//!
//! # The order
//! All routes of a table stand in one order, and the first that matches takes the request:
//!
//! 1. higher priority,
//! 2. host: exact, then longer wildcard, then any (a route with several hosts stands once under
//!    each),
//! 3. path: exact, then template, then longer prefix, then regex; templates segment by segment
//!    from the left, literal before capture before rest,
//! 4. routes that name methods,
//! 5. more conditions on headers, query and tags,
//! 6. name, in byte order.
//!
//! The search follows steps 2 and 3 and so meets the candidates in order but for their priority:
//! what it meets later wins only by a higher one, and where nothing to come has a higher one it
//! stops.

mod conditions;
mod counts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hash_trie;
mod host;
pub mod rewrite;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod vhost;

use std::sync::Arc;

use fleetway_api::Route;
use http::{HeaderMap, Method};

pub use self::{
    host::split_port,
    table::{Change, RouteTable},
};

/// What a [`RouteTable`] holds: something that has a route.
pub trait Routed {
    /// The route. Always the same one.
    fn route(&self) -> &Route;
}

impl<T: Routed + ?Sized> Routed for Arc<T> {
    fn route(&self) -> &Route {
        (**self).route()
    }
}

impl Routed for Route {
    fn route(&self) -> &Route {
        self
    }
}

/// What routes are matched against.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'r> {
    /// The authority or `Host` value, port and all; empty if the request has none.
    pub host: &'r str,
    /// The path without the query, as it is to be compared: the table decodes nothing.
    pub path: &'r str,
    /// The query without the question mark.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The header fields.
    pub headers: &'r HeaderMap,
    /// The tags that policies have set: keys with their values.
    pub tags: &'r [(Box<str>, Box<str>)],
}
