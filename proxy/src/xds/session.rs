//! One discovery stream as a state machine without IO: what comes in, what is to be done.
//!
//! With the barrier, responses wait until the [`fleetway_api::proto::v1::Revision`] of their push
//! arrives; then they take effect together, and only what came of that is acknowledged: all of
//! them, or none. A server without the barrier has each response take effect by itself.
//!
//! Which of the two a server is shows in its responses. One with the barrier says in each, as
//! `system_version_info`, the decimal revision the response belongs to; so a response that says
//! none comes from a server without it, as does the answer that there is no resource `revision`.
//! A response that says one waits for its barrier for as long as it takes: nothing may become
//! visible by halves because a barrier is late.

use std::{collections::VecDeque, sync::Arc};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{Node as WireNode, node::UserAgentVersionType},
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
    google::{
        protobuf::{Struct, Value, value},
        rpc,
    },
};
use fleetway_api::{FieldError, Kind, proto::type_url, rest::FailingPolicy};
use prost::Message as _;

use super::{
    held::Held,
    push::{BARRIER, Push},
};

/// What a proxy tells a server about itself.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique among the proxies of a server.
    pub id: Arc<str>,
    /// The fleet it belongs to; decides which resources it gets.
    pub fleet: Arc<str>,
}

/// Tells the server that responses may wait for a `fleetway.v1.Revision`.
pub const BARRIER_FEATURE: &str = "fleetway.v1.revision-barrier";

/// `google.rpc.Code.INVALID_ARGUMENT`
const INVALID_ARGUMENT: i32 = 3;
/// The longest `error_detail` message, in bytes.
const MAX_DETAIL: usize = 4096;
/// While a push is being applied, reading stops at this many bytes of responses behind it.
const PAUSE_BYTES: usize = 64 << 20;
/// The most bytes of one push.
const MAX_PUSH_BYTES: usize = 1 << 30;

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Action {
    /// Send this request.
    Send(Box<DeltaDiscoveryRequest>),
    /// Build this and put it in force, then say how it went with [`Session::applied`].
    Apply(Box<Push>),
}

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_PUSH_BYTES} bytes of responses came without the barrier that ends them")]
pub(super) struct TooMuch;

/// How a server's responses take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not known yet.
    Undecided,
    /// Together, at the barrier.
    Barrier,
    /// One by one.
    Plain,
}

/// A discovery stream, from its first request to its end.
pub(super) struct Session {
    held: Held,
    mode: Mode,
    waiting: VecDeque<DeltaDiscoveryResponse>,
    waiting_bytes: usize,
    /// The responses being applied, to be answered when that is done.
    in_flight: Option<Vec<Answer>>,
}

/// What answers a response.
#[derive(Debug)]
struct Answer {
    type_url: String,
    nonce: String,
}

impl Session {
    /// A new stream, and the requests it begins with, in their order. `failing` are the policies that
    /// keep failing.
    pub(super) fn start(
        node: &Node,
        failing: &[FailingPolicy],
        held: Held,
    ) -> (Self, Vec<DeltaDiscoveryRequest>) {
        let mut requests: Vec<_> = Kind::ALL
            .into_iter()
            .map(|kind| DeltaDiscoveryRequest {
                initial_resource_versions: held.versions(kind),
                ..subscription(kind.type_url())
            })
            .collect();
        let mut barrier = subscription(type_url::REVISION);
        if let Some(version) = &held.revision().version {
            barrier
                .initial_resource_versions
                .insert(BARRIER.to_owned(), version.to_string());
        }
        requests.push(barrier);
        if let Some(first) = requests.first_mut() {
            first.node = Some(wire_node(node, failing));
        }
        let session = Self {
            held,
            mode: Mode::Undecided,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: None,
        };
        (session, requests)
    }

    /// Whether the next response may be read. While a push is being applied, what comes behind it
    /// is read and kept up to a bound; then the server has to wait.
    pub(super) fn may_read(&self) -> bool {
        self.in_flight.is_none() || self.waiting_bytes < PAUSE_BYTES
    }

    /// A response came.
    ///
    /// # Errors
    /// When it makes a push that does not end too large to keep. The stream is to be closed.
    pub(super) fn received(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<Vec<Action>, TooMuch> {
        self.mode = self.mode.after(&response);
        self.waiting_bytes += response.encoded_len();
        self.waiting.push_back(response);
        let mut actions = Vec::new();
        self.proceed(&mut actions);
        if self.waiting_bytes > MAX_PUSH_BYTES && self.in_flight.is_none() {
            return Err(TooMuch);
        }
        Ok(actions)
    }

    /// The push of the last [`Action::Apply`] is in force as `held`, or it is refused and
    /// everything is as before.
    pub(super) fn applied(&mut self, outcome: Result<Held, &[FieldError]>) -> Vec<Action> {
        let detail = match outcome {
            Ok(held) => {
                self.held = held;
                None
            }
            Err(faults) => Some(rpc::Status {
                code: INVALID_ARGUMENT,
                message: join(faults),
                details: Vec::new(),
            }),
        };
        let answers = self.in_flight.take().unwrap_or_default();
        let mut actions = answers
            .into_iter()
            .map(|answer| answer.into_action(detail.clone()))
            .collect();
        self.proceed(&mut actions);
        actions
    }

    /// Takes the next push off what waits, unless one is being applied.
    fn proceed(&mut self, actions: &mut Vec<Action>) {
        while self.in_flight.is_none() {
            let is_barrier =
                |response: &DeltaDiscoveryResponse| response.type_url == type_url::REVISION;
            let barrier = self.waiting.iter().position(is_barrier);
            let end = match (self.mode, barrier) {
                (Mode::Plain, _) if !self.waiting.is_empty() => 0,
                (Mode::Barrier, Some(at)) => at,
                _ => return,
            };
            let responses: Vec<_> = self.waiting.drain(..=end).collect();
            let bytes: usize = responses.iter().map(prost::Message::encoded_len).sum();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
            let answers: Vec<_> = responses.iter().map(Answer::to).collect();
            let is_nothing = |response| is_barrier(response) && response.resources.is_empty();
            if responses.iter().all(is_nothing) {
                // The word that there is no barrier, or none that is new: nothing to apply.
                actions.extend(answers.into_iter().map(|answer| answer.into_action(None)));
                continue;
            }
            self.in_flight = Some(answers);
            actions.push(Action::Apply(Box::new(Push {
                base: self.held.clone(),
                responses,
                barrier: self.mode == Mode::Barrier,
            })));
        }
    }
}

impl Mode {
    fn after(self, response: &DeltaDiscoveryResponse) -> Self {
        let has_revision = response.system_version_info.parse::<u64>().is_ok();
        if response.type_url == type_url::REVISION {
            let none =
                !response.removed_resources.is_empty() || (self != Self::Barrier && !has_revision);
            return if response.resources.is_empty() && none {
                Self::Plain
            } else {
                Self::Barrier
            };
        }
        match self {
            Self::Undecided if !has_revision => Self::Plain,
            mode => mode,
        }
    }
}

impl Answer {
    fn to(response: &DeltaDiscoveryResponse) -> Self {
        Self {
            type_url: response.type_url.clone(),
            nonce: response.nonce.clone(),
        }
    }

    /// An ACK; with a detail, a NACK.
    fn into_action(self, error_detail: Option<rpc::Status>) -> Action {
        Action::Send(Box::new(DeltaDiscoveryRequest {
            type_url: self.type_url,
            response_nonce: self.nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        }))
    }
}

fn subscription(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        ..DeltaDiscoveryRequest::default()
    }
}

/// Tells the server which policies keep failing now: a request that asks for nothing.
pub(super) fn tell(node: &Node, failing: &[FailingPolicy]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url::REVISION.to_owned(),
        node: Some(wire_node(node, failing)),
        ..DeltaDiscoveryRequest::default()
    }
}

fn wire_node(node: &Node, failing: &[FailingPolicy]) -> WireNode {
    // A list of texts is always JSON.
    let text = serde_json::to_string(failing).unwrap_or_default();
    let told = Value {
        kind: Some(value::Kind::StringValue(text)),
    };
    let told = (FailingPolicy::METADATA.to_owned(), told);
    let metadata = (!failing.is_empty()).then(|| Struct {
        fields: [told].into(),
    });
    WireNode {
        id: node.id.to_string(),
        cluster: node.fleet.to_string(),
        user_agent_name: "fleetway-proxy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        client_features: vec![BARRIER_FEATURE.to_owned()],
        metadata,
        ..WireNode::default()
    }
}

/// All faults in one text of at most [`MAX_DETAIL`] bytes; what does not fit is counted.
pub(super) fn join(faults: &[FieldError]) -> String {
    /// Room for " … and 18446744073709551615 more faults".
    const REST: usize = 48;
    let mut text = String::new();
    for (index, fault) in faults.iter().enumerate() {
        let line = fault.to_string();
        let separator = if index > 0 { "; " } else { "" };
        if text.len() + separator.len() + line.len() > MAX_DETAIL - REST {
            if index == 0 {
                let end = line.floor_char_boundary(MAX_DETAIL - REST);
                text.push_str(line.get(..end).unwrap_or_default());
                text.push_str(" …");
            }
            let left = faults.len() - index.max(1);
            if left > 0 {
                text.push_str(&format!(" … and {left} more faults"));
            }
            break;
        }
        text.push_str(separator);
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests;
