//! What is read off a request, and the limits it is held to.

use std::sync::Arc;

use envoy_types::pb::{
    envoy::{
        config::core::v3::{Node, node::UserAgentVersionType},
        service::discovery::v3::DeltaDiscoveryRequest,
    },
    google::protobuf::value::Kind,
};
use fleetway_api::rest::FailingPolicy;

use super::{facts::Identity, subscription::Subscription};

/// The entry of `node.client_features` with which a client announces that it will subscribe to
/// the barrier.
pub const BARRIER_FEATURE: &str = "fleetway.v1.revision-barrier";
/// The name of the one resource of type `Revision`.
pub const BARRIER_NAME: &str = "revision";

/// The longest node id and fleet, in bytes.
const MAX_ID: usize = 1024;
/// The most names a client may subscribe to, of one type.
const MAX_NAMES: usize = 100_000;
/// The longest name in a subscription, in bytes.
pub(super) const MAX_NAME: usize = 1024;
/// The most versions a client may come back with, of one type.
const MAX_VERSIONS: usize = 1_000_000;
/// The most unknown types that are answered on a stream.
pub(super) const MAX_UNKNOWN_TYPES: usize = 16;
/// The most bytes kept of the client's words about a refusal.
const MAX_REFUSAL: usize = 4096;

/// Why a stream is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The client does not say who it is.
    #[error("{0}")]
    InvalidNode(&'static str),
    /// The client asks for more than is allowed.
    #[error("{0}")]
    TooMuch(String),
}

impl From<Close> for tonic::Status {
    fn from(close: Close) -> Self {
        match close {
            Close::InvalidNode(text) => Self::invalid_argument(text),
            Close::TooMuch(text) => Self::resource_exhausted(text),
        }
    }
}

/// Reads who the client is, and whether it announces the barrier, off a first request.
///
/// # Errors
/// When it does not say, or says too much.
pub(super) fn read_node(node: Option<&Node>) -> Result<(Identity, bool), Close> {
    let Some(node) = node.filter(|node| !node.id.is_empty()) else {
        return Err(Close::InvalidNode(
            "node.id is missing: the first request on a stream must say which node it comes from",
        ));
    };
    if node.id.len() > MAX_ID || node.cluster.len() > MAX_ID {
        return Err(Close::InvalidNode(
            "node.id and node.cluster must be at most 1024 bytes",
        ));
    }
    let identity = Identity {
        id: node.id.clone(),
        fleet: node.cluster.clone(),
        build: build(node),
    };
    let announced_barrier = node.client_features.iter().any(|f| f == BARRIER_FEATURE);
    Ok((identity, announced_barrier))
}

/// Reads which policies keep failing on the node, if it tells. Of what it says too much of, the rest
/// is left out.
///
/// # Errors
/// What is wrong with what it says.
pub(super) fn read_failing(node: &Node) -> Result<Arc<[FailingPolicy]>, &'static str> {
    let told = node.metadata.as_ref();
    let told = told.and_then(|metadata| metadata.fields.get(FailingPolicy::METADATA));
    let text = match told.map(|value| &value.kind) {
        None => return Ok(Arc::default()),
        Some(Some(Kind::StringValue(text))) => text,
        Some(_) => return Err("the failing policies in node.metadata are no text"),
    };
    let mut failing: Vec<FailingPolicy> = serde_json::from_str(text)
        .map_err(|_| "the failing policies in node.metadata are not as they should be")?;
    failing.truncate(FailingPolicy::MOST);
    for policy in &mut failing {
        truncate(&mut policy.policy, FailingPolicy::MESSAGE);
        truncate(&mut policy.since, FailingPolicy::MESSAGE);
        truncate(&mut policy.cause, FailingPolicy::MESSAGE);
        truncate(&mut policy.message, FailingPolicy::MESSAGE);
    }
    Ok(failing.into())
}

/// The client's program and version, as it names them.
fn build(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
            .unwrap_or_default(),
        None => String::new(),
    };
    let mut build = format!("{} {version}", node.user_agent_name);
    truncate(&mut build, MAX_ID);
    build.trim().to_owned()
}

/// Adds the client's words about one response to those about the others of a push.
pub(super) fn note_refusal(refusal: &mut Option<String>, message: &str) {
    let message = match message.trim() {
        "" => "it gave no reason",
        message => message,
    };
    match refusal {
        None => *refusal = Some(message.to_owned()),
        // The parts of one revision are often refused with the same words.
        Some(known) if !known.contains(message) => {
            known.push_str("; ");
            known.push_str(message);
        }
        Some(_) => {}
    }
    if let Some(refusal) = refusal {
        truncate(refusal, MAX_REFUSAL);
    }
}

fn truncate(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// Holds a request to the limits, before anything is kept of it.
pub(super) fn check_limits(request: &DeltaDiscoveryRequest) -> Result<(), Close> {
    let url = &request.type_url;
    let subscribed = &request.resource_names_subscribe;
    if subscribed.iter().any(|name| name.len() > MAX_NAME) {
        return Err(Close::TooMuch(format!(
            "{url}: a name in resource_names_subscribe is longer than {MAX_NAME} bytes"
        )));
    }
    if request.initial_resource_versions.len() > MAX_VERSIONS {
        return Err(Close::TooMuch(format!(
            "{url}: initial_resource_versions has more than {MAX_VERSIONS} entries"
        )));
    }
    Ok(())
}

/// Holds a subscription to its limit.
pub(super) fn check_names(subscription: &Subscription, url: &str) -> Result<(), Close> {
    if subscription.size() <= MAX_NAMES {
        return Ok(());
    }
    Err(Close::TooMuch(format!(
        "{url}: at most {MAX_NAMES} names can be subscribed to: subscribe to \"*\" instead"
    )))
}
