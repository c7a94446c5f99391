//! Writes policies for Fleetway: components that look at requests and responses on their way through
//! a proxy.
//!
//! A policy is a type with a typed configuration and a trait for each stage it takes part in;
//! [`export!`] makes a component of it.
//!
//! ```
//! use fleetway_policy::prelude::*;
//!
//! /// Answers requests below a path.
//! struct Closed(Config);
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     path: String,
//! }
//!
//! impl Policy for Closed {
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self, Vec<Fault>> {
//!         if !config.path.starts_with('/') {
//!             return Err(vec![fault("/path", "begin it with `/`")]);
//!         }
//!         Ok(Self(config))
//!     }
//! }
//!
//! impl PreRoute for Closed {
//!     fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
//!         if request.path().starts_with(&self.0.path) {
//!             return Ok(respond(403, "closed").into());
//!         }
//!         Ok(Decision::Continue)
//!     }
//! }
//!
//! fleetway_policy::export!(Closed: pre_route);
//! # fn main() {}
//! ```
//!
//! Away from WebAssembly the same types stand for requests made up in memory: see [`testing`].

// What is generated names this crate as policies do.
extern crate self as fleetway_policy;

#[doc(hidden)]
pub mod abi;
mod answer;
mod body;
mod config;
mod error;
#[doc(hidden)]
pub mod export;
mod headers;
mod host;
mod logging;
#[cfg(not(target_family = "wasm"))]
mod native;
mod policy;
mod request;
mod response;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

/// What the types of this crate stand on: handles of the proxy's, or the same made up in memory.
mod raw {
    #[cfg(target_family = "wasm")]
    pub(crate) use crate::abi::imports::fleetway::policy::{
        clock, config, http_client, key_value, log, metadata, metrics, random, types,
    };
    #[cfg(not(target_family = "wasm"))]
    pub(crate) use crate::native::{
        clock, config, http_client, key_value, log, metadata, metrics, random, resources as types,
    };
}

pub use abi::configuration::exports::fleetway::policy::configuration::Fault;
pub use abi::imports::fleetway::policy::types::{
    Certificate, ChangeError, Client, Datetime, Decision, Exchange, LocalResponse, Outcome,
    Protocol, RetryOn, RoutingHint, Tls,
};
pub use answer::{respond, route_to};
pub use body::{BodyReader, BodyWriter, Buffer};
pub use config::{NoConfig, fault, policy_name};
pub use error::Error;
pub use headers::Headers;
pub use host::{access_log, clock, http_client, key_value, metadata, metrics, random};
pub use log;
pub use policy::{Policy, PostResponse, PreRoute, PreUpstream, RequestBody, ResponseBody};
pub use request::{Request, Upstream};
pub use response::Response;

/// What most policies use.
pub mod prelude {
    pub use crate::{
        BodyReader, BodyWriter, Buffer, Decision, Error, Exchange, Fault, Headers, NoConfig,
        Outcome, Policy, PostResponse, PreRoute, PreUpstream, Request, RequestBody, Response,
        ResponseBody, RoutingHint, Upstream, fault, log, respond, route_to,
    };
}

#[doc(hidden)]
pub mod __private {
    pub use wit_bindgen::rt;
}
