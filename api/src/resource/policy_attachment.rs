//! Policies at their place on a route or a listener.

use fleetway_proto::v1;

use super::PolicyConfig;
use crate::{Name, error::Checker};

/// A policy at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyAttachment {
    /// The policy.
    pub policy: Name,
    /// When it runs.
    pub stage: Stage,
    /// What is laid over the policy's own configuration, if anything: [`PolicyConfig::merged`].
    pub config: Option<PolicyConfig>,
}

/// When a policy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before the request is sent anywhere.
    PreRoute,
    /// Once the cluster is known.
    PreUpstream,
    /// On the response.
    PostResponse,
}

impl Stage {
    /// As documents write it: `PRE_ROUTE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreRoute => "PRE_ROUTE",
            Self::PreUpstream => "PRE_UPSTREAM",
            Self::PostResponse => "POST_RESPONSE",
        }
    }
}

/// The most policies in one list.
const MAX: usize = 32;

/// Reads a list of them. `has_upstream`: requests may be sent to one.
pub(super) fn read_all(
    check: &mut Checker,
    field: &str,
    messages: Vec<v1::PolicyAttachment>,
    has_upstream: bool,
) -> Box<[PolicyAttachment]> {
    if messages.len() > MAX {
        check.fault(
            field,
            format!("has {} entries, {MAX} are the most", messages.len()),
        );
        return Box::default();
    }
    let read = messages.into_iter().enumerate();
    read.filter_map(|(index, message)| {
        read_one(check, &format!("{field}[{index}]"), message, has_upstream)
    })
    .collect()
}

fn read_one(
    check: &mut Checker,
    field: &str,
    message: v1::PolicyAttachment,
    has_upstream: bool,
) -> Option<PolicyAttachment> {
    use v1::policy_attachment::Stage as Message;
    let stage = match message.stage() {
        Message::PreRoute => Some(Stage::PreRoute),
        Message::PreUpstream if !has_upstream => {
            check.fault(
                format!("{field}.stage"),
                "is PRE_UPSTREAM, and without `forward` there is no upstream: give PRE_ROUTE or POST_RESPONSE",
            );
            None
        }
        Message::PreUpstream => Some(Stage::PreUpstream),
        Message::PostResponse => Some(Stage::PostResponse),
        Message::Unspecified => {
            check.fault(
                format!("{field}.stage"),
                "is missing: give PRE_ROUTE, PRE_UPSTREAM or POST_RESPONSE",
            );
            None
        }
    };
    let policy = if message.policy.is_empty() {
        check.fault(format!("{field}.policy"), "is missing: name a policy");
        None
    } else {
        check.take(|| format!("{field}.policy"), Name::new(&message.policy))
    };
    let config = message
        .config
        .map(|config| PolicyConfig::read(check, &format!("{field}.config"), config));
    Some(PolicyAttachment {
        policy: policy?,
        stage: stage?,
        config,
    })
}
