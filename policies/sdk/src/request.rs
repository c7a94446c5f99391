//! Requests and where they go.

use std::time::Duration;

use crate::raw::types as raw;
use crate::{ChangeError, Client, Datetime, Headers, RetryOn, Tls};

/// A request. In `post_response` it is what was sent upstream, and changes to it are refused.
#[derive(Clone, Copy)]
pub struct Request<'a>(pub(crate) &'a raw::Request);

impl Request<'_> {
    /// The id in `x-request-id`.
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The trace it belongs to: 32 hexadecimal digits of its `traceparent`, where that is valid.
    pub fn trace_id(&self) -> Option<String> {
        self.0.trace_id()
    }

    /// When its head had come, as the time since 1970.
    pub fn received(&self) -> Duration {
        self.0.received().into()
    }

    /// Who sends it.
    pub fn client(&self) -> Client {
        self.0.client()
    }

    /// What its TLS handshake told; none in clear text.
    pub fn tls(&self) -> Option<Tls> {
        self.0.tls()
    }

    /// The method, such as `GET`.
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// Puts another method in its place.
    pub fn set_method(&self, method: &str) -> Result<(), ChangeError> {
        self.0.set_method(method)
    }

    /// `http` or `https`, as the client came.
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// Host and port as the client wrote them; empty where it wrote none.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// Puts another authority in its place.
    pub fn set_authority(&self, authority: &str) -> Result<(), ChangeError> {
        self.0.set_authority(authority)
    }

    /// The path in its normal form, without the query.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// Takes a path beginning with `/`, percent-encoded. It is brought to its normal form.
    pub fn set_path(&self, path: &str) -> Result<(), ChangeError> {
        self.0.set_path(path)
    }

    /// What is behind the `?`; none without one.
    pub fn query(&self) -> Option<String> {
        self.0.query()
    }

    /// Puts another query in its place, or takes it away.
    pub fn set_query(&self, query: Option<&str>) -> Result<(), ChangeError> {
        self.0.set_query(query)
    }

    /// Path and query as one, as they stand in a request line.
    pub fn path_with_query(&self) -> String {
        match self.query() {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path(),
        }
    }

    /// Its header fields. `host` is not among them: it is the authority.
    pub fn headers(&self) -> Headers {
        Headers(self.0.headers())
    }
}

/// Where a request is about to go.
#[derive(Clone, Copy)]
pub struct Upstream<'a>(pub(crate) &'a raw::Upstream);

impl Upstream<'_> {
    /// The route that takes it.
    pub fn route(&self) -> String {
        self.0.route()
    }

    /// The labels of that route.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.0.labels()
    }

    /// The value of one of them.
    pub fn label(&self, name: &str) -> Option<String> {
        self.labels()
            .into_iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The cluster it goes to.
    pub fn cluster(&self) -> String {
        self.0.cluster()
    }

    /// The authority the upstream will see: the route can rewrite it.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// Path and query the upstream will see: the route can rewrite the path.
    pub fn path_with_query(&self) -> String {
        self.0.path_with_query()
    }

    /// Sets the authority the upstream is to see, whatever the route says.
    pub fn set_authority(&self, authority: &str) -> Result<(), ChangeError> {
        self.0.set_authority(authority)
    }

    /// Sets the time the whole exchange may take, in place of the route's. It is kept in whole
    /// milliseconds, at most 49 days.
    pub fn set_timeout(&self, timeout: Duration) {
        self.0
            .set_timeout(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    }

    /// Has the request sent again for these reasons, so often at most and never more than 10 times:
    /// see the ABI for which requests can be.
    ///
    /// ```
    /// use fleetway_policy::{RetryOn, Upstream};
    ///
    /// fn patient(upstream: &Upstream) {
    ///     upstream.set_retries(2, RetryOn::CONNECT_FAILURE | RetryOn::RESET);
    /// }
    /// ```
    pub fn set_retries(&self, count: u32, on: RetryOn) {
        self.0.set_retries(count, on);
    }
}

impl From<Datetime> for Duration {
    fn from(at: Datetime) -> Self {
        Self::new(at.seconds, at.nanoseconds)
    }
}
