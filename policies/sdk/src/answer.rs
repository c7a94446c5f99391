//! What a policy decides, put together step by step.

use crate::{Decision, LocalResponse, Outcome, RoutingHint};

/// An answer in place of what would have been, with a text. It turns into a [`Decision`] and an
/// [`Outcome`].
///
/// ```
/// use fleetway_policy::{Decision, respond};
///
/// let decision: Decision = respond(429, "later").header("retry-after", "5").into();
/// ```
pub fn respond(status: u16, body: impl Into<Vec<u8>>) -> LocalResponse {
    LocalResponse {
        status,
        headers: Vec::new(),
        body: body.into(),
    }
}

/// A request to route a request anew, to the route of this name.
pub fn route_to(route: impl Into<String>) -> RoutingHint {
    RoutingHint {
        route: Some(route.into()),
        ..RoutingHint::default()
    }
}

impl LocalResponse {
    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

#[expect(clippy::derivable_impls, reason = "the type is generated")]
impl Default for RoutingHint {
    fn default() -> Self {
        Self {
            route: None,
            cluster: None,
            tags: Vec::new(),
        }
    }
}

impl RoutingHint {
    /// Names the cluster the request is to go to, whatever its route says.
    #[must_use]
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// Adds a tag that routes can match on.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }
}

impl From<LocalResponse> for Decision {
    fn from(response: LocalResponse) -> Self {
        Self::Respond(response)
    }
}

impl From<RoutingHint> for Decision {
    fn from(hint: RoutingHint) -> Self {
        Self::Reroute(hint)
    }
}

impl From<LocalResponse> for Outcome {
    fn from(response: LocalResponse) -> Self {
        Self::Respond(response)
    }
}
