//! Requests of policies' own.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};

/// The longest body of a request or a response, in bytes.
pub(crate) const BODY_MAX: usize = 1024 * 1024;

/// How many requests of policies may lead to each other through a proxy.
pub(crate) const HOPS_MAX: u32 = 3;

/// Where a policy may send requests of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The clusters, by name.
    pub clusters: Arc<[Box<str>]>,
    /// The time there is for each.
    pub timeout: Duration,
}

/// A request of a policy.
#[derive(Debug)]
pub struct Sending {
    /// How many requests of policies of this proxy have led to it, with itself.
    pub hops: u32,
    /// The cluster it goes to, which the policy is granted.
    pub cluster: Box<str>,
    /// The request: its target in origin form, with `host`, and the `x-request-id` of the one it is sent
    /// for.
    pub request: Request<Bytes>,
    /// The time there is for the whole of it.
    pub timeout: Duration,
    /// The longest body of a response that is of use, in bytes.
    pub max_body: usize,
}

/// Why a request of a policy got no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It was not answered in time.
    #[error("it was not answered in time")]
    Timeout,
    /// It was not answered.
    #[error("{0}")]
    Failed(String),
    /// The body of the response is too long.
    #[error("the body of the response is too long")]
    TooLarge,
}

/// The response to a request of a policy, when it comes. Dropped, the request is given up.
pub type Sent = Pin<Box<dyn Future<Output = Result<Response<Bytes>, SendError>> + Send>>;

/// Sends the requests of policies.
pub trait Outbound: fmt::Debug + Send + Sync {
    /// Sends one, and gives the whole response.
    fn send(&self, sending: Sending) -> Sent;
}
