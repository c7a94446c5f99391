//! Runs policies: WebAssembly components at the stages of a request.
//!
//! The ABI is in `policies/wit`. The way of a policy here: its bytes become a [`Program`], once for
//! each component; a program with a name, a configuration and bounds is a [`Unit`], once for each
//! place it is attached at; each call of a unit is a [`Call`], with an instance of its own that is
//! thrown away after it. What calls of one policy share on a proxy is [`Shared`].
//!
//! Nothing here knows of servers or connections: a caller gives a request's head and what is known
//! of it, and gets it back with a decision.

mod abi;
mod body;
mod cache;
mod call;
mod describe;
mod engine;
mod facts;
mod failure;
mod host;
mod notebook;
mod outbound;
mod program;
mod schema;
mod shared;
mod state;
mod ticker;
mod unit;

pub use body::{Buffered, Feed, Step, Transform};
pub use call::Call;
pub use describe::{ABI_VERSION, Description, Misfit, Stage};
pub use engine::{Options, Runtime, SetupError};
pub use facts::{
    Bounds, Certificate, Client, Exchange, Facts, PathRule, Protocol, Retries, Tls, Upstream,
};
pub use failure::{CompileError, Failure, Fault};
pub use notebook::{Annotation, Notebook};
pub use outbound::{Grant, Outbound, SendError, Sending, Sent};
pub use program::Program;
pub use shared::{Counts, Durations, Failing, KEEPS_FAILING, Series, SeriesKind, Shared};
pub use state::Subject;
pub use unit::{Limits, Unit};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Continue,
    /// It goes on, and is routed anew with this.
    Reroute(Hint),
    /// It goes no further: this is the answer.
    Respond(Answer),
}

/// What becomes of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Continue,
    /// This goes in its place.
    Respond(Answer),
}

/// An answer made by a policy, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599.
    pub status: http::StatusCode,
    /// Without fields that are the proxy's own to set.
    pub headers: http::HeaderMap,
    /// Its body.
    pub body: bytes::Bytes,
}

/// What a request is to be routed by, besides itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// The route that is to take it, by name.
    pub route: Option<String>,
    /// The cluster it is to go to, by name.
    pub cluster: Option<String>,
    /// Tags that routes can match on.
    pub tags: Vec<(Box<str>, Box<str>)>,
}

impl Hint {
    /// Lays a later hint over this one.
    pub fn overlay(&mut self, later: Self) {
        self.route = later.route.or(self.route.take());
        self.cluster = later.cluster.or(self.cluster.take());
        for (name, value) in later.tags {
            match self.tags.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.tags.push((name, value)),
            }
        }
    }
}
