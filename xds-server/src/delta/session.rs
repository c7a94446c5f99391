//! One client's discovery stream as a state machine without input or output: requests and new
//! states go in, responses and facts about the client come out.
//!
//! One push is under way at a time. What is committed meanwhile goes out as its sum with the
//! next. A push is taken for delivered when it is acknowledged, not when it is sent.

mod begin;
mod withhold;

pub use self::withhold::Exposure;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use envoy_types::pb::envoy::{
    config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest,
};
use fleetway_api::{
    Kind,
    proto::type_url,
    rest::{FailingPolicy, NodeType},
};

use super::{
    codec::Response,
    diff::{View, resume},
    facts::{Facts, Identity, InFlight, Mode, Refusal, Tally},
    push::{Push, Subject},
    request::{
        BARRIER_NAME, Close, MAX_NAME, MAX_UNKNOWN_TYPES, check_limits, check_names, note_refusal,
        read_failing, read_node,
    },
    subscription::Subscription,
};
use crate::snapshot::Snapshot;

/// One kind the client subscribes to.
#[derive(Debug)]
struct Tracked {
    subscription: Subscription,
    /// The state whose visible part the client holds, but for what it is owed.
    base: Arc<Snapshot>,
    /// The revision up to which the client acknowledged.
    acknowledged: Option<u64>,
}

/// What the versions are of that a client names for what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It has not subscribed to the barrier, by which it would say so. It is believed.
    Unsaid,
    /// Of this store's history.
    Ours,
    /// It subscribed to the barrier and gave no version of it.
    Fresh,
    /// Of another store's history, or of one this store has lost.
    Foreign,
}

/// A type this server does not know. It is answered as one of which there is nothing.
#[derive(Debug, Default)]
struct Unknown {
    subscription: Subscription,
    unanswered: Option<u64>,
}

/// One client's stream.
#[derive(Debug)]
pub struct Session {
    /// Its number, which makes its nonces its own.
    stream: u64,
    nonces: u64,
    /// Who but the client could read what is sent.
    exposure: Exposure,
    identity: Option<Identity>,
    announced_barrier: bool,
    snapshot: Arc<Snapshot>,
    kinds: [Option<Tracked>; Kind::ALL.len()],
    revision: Option<Subscription>,
    unknown: BTreeMap<String, Unknown>,
    push: Option<Push>,
    /// The revision of the last barrier the client acknowledged on this stream.
    confirmed: Option<u64>,
    /// The revision the client said it has when it came back.
    claimed: Option<u64>,
    /// What the versions the client names are of.
    origin: Origin,
    /// A refused revision, not to be sent again unasked.
    held: Option<u64>,
    /// The client asked for something since.
    asked: bool,
    refusal: Option<Refusal>,
    /// Its policies that keep failing.
    failing: Arc<[FailingPolicy]>,
    tally: Tally,
}

impl Session {
    /// A stream that was just opened. `stream` must be unlike that of any other stream the client
    /// may remember.
    #[must_use]
    pub fn new(stream: u64, snapshot: Arc<Snapshot>) -> Self {
        Self {
            stream,
            nonces: 0,
            exposure: Exposure::Cleartext,
            identity: None,
            announced_barrier: false,
            snapshot,
            kinds: Default::default(),
            revision: None,
            unknown: BTreeMap::new(),
            push: None,
            confirmed: None,
            claimed: None,
            origin: Origin::Unsaid,
            held: None,
            asked: false,
            refusal: None,
            failing: Arc::default(),
            tally: Tally::default(),
        }
    }

    /// The same for a connection that is exposed like this: secrets go only where it is not.
    #[must_use]
    pub const fn exposed(mut self, exposure: Exposure) -> Self {
        self.exposure = exposure;
        self
    }

    /// Who the client is, once it said so.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Takes a request: an answer to a response, a change of subscriptions, or both.
    ///
    /// # Errors
    /// When the stream is to be closed.
    pub fn on_request(&mut self, request: DeltaDiscoveryRequest, now_ms: i64) -> Result<(), Close> {
        self.identify(request.node.as_ref())?;
        check_limits(&request)?;
        self.on_answer(&request, now_ms);
        match Subject::of(&request.type_url) {
            Some(Subject::Kind(kind)) => self.on_kind(kind, &request)?,
            Some(Subject::Revision) => self.on_revision(&request)?,
            None => self.on_unknown(&request)?,
        }
        self.advance(now_ms);
        Ok(())
    }

    /// Takes a new state; the newest one counts.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>, now_ms: i64) {
        if snapshot.revision() > self.snapshot.revision() {
            self.snapshot = snapshot;
            self.advance(now_ms);
        }
    }

    /// Whether a response waits to be sent.
    #[must_use]
    pub fn has_response(&self) -> bool {
        self.push.as_ref().is_some_and(Push::has_piece) || self.unknown.values().any(Unknown::waits)
    }

    /// The next response, made when there is room to send it.
    pub fn next_response(&mut self) -> Option<Response> {
        let fleet = self.identity.as_ref()?.fleet.as_str();
        let number = self.nonces + 1;
        let nonce = format!("{}-{number}", self.stream);
        let revision = self.snapshot.revision();
        if let Some((url, unknown)) = self.unknown.iter_mut().find(|(_, unknown)| unknown.waits()) {
            self.nonces = number;
            unknown.unanswered = Some(number);
            let owed = unknown.subscription.take_owed();
            return Some(Response {
                type_url: Cow::Owned(url.clone()),
                revision,
                resources: Vec::new(),
                removed: owed.names.into_keys().collect(),
                nonce,
            });
        }
        let push = self.push.as_mut()?;
        let piece = push.next_piece(number, fleet)?;
        self.nonces = number;
        Some(Response {
            type_url: Cow::Borrowed(piece.subject.type_url()),
            revision: push.revision(),
            resources: piece.resources,
            removed: piece.removed,
            nonce,
        })
    }

    /// Where the client stands.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mode = self.mode();
        Facts {
            mode,
            live_revision: self.live_revision(mode),
            in_flight: self.push.as_ref().map(|push| InFlight {
                revision: push.revision(),
                since_ms: push.since_ms,
                unread: !push.parts.is_empty(),
            }),
            refusal: self.refusal.clone(),
            failing: self.failing.clone(),
            types: self.types(),
            tally: self.tally,
        }
    }

    fn live_revision(&self, mode: Mode) -> Option<u64> {
        if mode != Mode::Plain {
            return self.confirmed.or(self.claimed);
        }
        let mut live = None;
        for tracked in self.tracked() {
            let acknowledged = tracked.acknowledged?;
            live = Some(live.map_or(acknowledged, |live: u64| live.min(acknowledged)));
        }
        live
    }

    fn types(&self) -> Vec<NodeType> {
        let kinds = Kind::ALL.into_iter().zip(&self.kinds);
        let kinds = kinds.filter_map(|(kind, tracked)| {
            let tracked = tracked.as_ref()?;
            let acknowledged = tracked.acknowledged;
            Some((kind.type_url(), &tracked.subscription, acknowledged))
        });
        let revision = self.revision.iter();
        let revision = revision.map(|held| (type_url::REVISION, held, self.confirmed));
        let unknown = self.unknown.iter();
        let unknown = unknown.map(|(url, unknown)| (url.as_str(), &unknown.subscription, None));
        kinds
            .chain(revision)
            .chain(unknown)
            .filter(|(_, subscription, _)| !subscription.is_empty())
            .map(|(url, subscription, acknowledged)| NodeType {
                type_url: url.to_owned(),
                acknowledged,
                names: subscription.count(),
            })
            .collect()
    }

    fn tracked(&self) -> impl Iterator<Item = &Tracked> {
        self.kinds
            .iter()
            .flatten()
            .filter(|tracked| !tracked.subscription.is_empty())
    }

    fn fault(&mut self, what: &str) {
        self.tally.protocol_errors += 1;
        let node = self.identity.as_ref().map_or("", |node| node.id.as_str());
        tracing::debug!(stream = self.stream, node, what, "protocol error");
    }

    fn identify(&mut self, node: Option<&Node>) -> Result<(), Close> {
        if let Some(identity) = &self.identity {
            // The first request speaks for the whole stream, but for how the node fares.
            match node.filter(|node| !node.id.is_empty()) {
                Some(node) if node.id == identity.id => self.note_failing(node),
                Some(_) => self.fault("another node.id on the same stream"),
                None => {}
            }
            return Ok(());
        }
        let (identity, announced_barrier) = read_node(node)?;
        self.identity = Some(identity);
        self.announced_barrier = announced_barrier;
        if let Some(node) = node {
            self.note_failing(node);
        }
        Ok(())
    }

    fn note_failing(&mut self, node: &Node) {
        match read_failing(node) {
            Ok(failing) => self.failing = failing,
            Err(fault) => self.fault(fault),
        }
    }

    fn on_answer(&mut self, request: &DeltaDiscoveryRequest, now_ms: i64) {
        let refused = request.error_detail.as_ref();
        if request.response_nonce.is_empty() {
            if refused.is_some() {
                self.fault("error_detail without a nonce");
            }
            return;
        }
        let nonce = self.own_nonce(&request.response_nonce);
        if let Some(unknown) = self.unknown.get_mut(&request.type_url)
            && unknown.unanswered.is_some()
            && unknown.unanswered == nonce
        {
            unknown.unanswered = None;
            self.count_answer(refused.is_none());
            return;
        }
        let subject = Subject::of(&request.type_url);
        let push = self.push.as_mut();
        let known = push.and_then(|push| {
            let subject = subject?;
            Some((subject, push.answered(nonce?, subject)?))
        });
        let Some((subject, carried)) = known else {
            self.fault("the nonce of no unanswered response");
            return;
        };
        self.count_answer(refused.is_none());
        let Some(push) = self.push.as_mut() else {
            return;
        };
        let mut left = Vec::new();
        if let Some(status) = refused {
            note_refusal(&mut push.refusal, &status.message);
            if push.stepwise {
                left = push.abandon(subject, carried);
            }
        } else if let Subject::Kind(kind) = subject
            && push.stepwise
            && !push.concerns(kind)
        {
            let revision = push.revision();
            if let Some(tracked) = self.tracked_mut(kind) {
                tracked.acknowledged = Some(revision);
            }
        }
        for (kind, owed) in left {
            if let Some(tracked) = self.tracked_mut(kind) {
                tracked.subscription.owe(owed);
            }
        }
        if let Some(push) = self.push.take_if(|push| push.is_done()) {
            self.finish(push, now_ms);
        }
    }

    fn count_answer(&mut self, accepted: bool) {
        if accepted {
            self.tally.acks += 1;
        } else {
            self.tally.nacks += 1;
        }
    }

    /// The number in one of this stream's nonces.
    fn own_nonce(&self, nonce: &str) -> Option<u64> {
        let (stream, number) = nonce.split_once('-')?;
        (stream.parse() == Ok(self.stream)).then(|| number.parse().ok())?
    }

    fn finish(&mut self, push: Push, now_ms: i64) {
        let revision = push.revision();
        if let Some(message) = push.refusal {
            for (kind, owed) in push.taken {
                if let Some(tracked) = self.tracked_mut(kind) {
                    tracked.subscription.owe(owed);
                }
            }
            self.held = Some(revision);
            self.refusal = Some(Refusal {
                revision,
                time_ms: now_ms,
                message,
            });
            return;
        }
        self.refusal = None;
        if push.stepwise {
            return;
        }
        for (kind, _) in push.taken {
            if let Some(tracked) = self.tracked_mut(kind) {
                tracked.base = push.snapshot.clone();
                tracked.acknowledged = Some(revision);
            }
        }
        self.confirmed = Some(revision);
    }

    fn tracked_mut(&mut self, kind: Kind) -> Option<&mut Tracked> {
        self.kinds.get_mut(kind.index())?.as_mut()
    }

    fn on_kind(&mut self, kind: Kind, request: &DeltaDiscoveryRequest) -> Result<(), Close> {
        let subscribe = &request.resource_names_subscribe;
        let unsubscribe = &request.resource_names_unsubscribe;
        let believed = matches!(self.origin, Origin::Unsaid | Origin::Ours);
        let asks = if let Some(tracked) = self.tracked_mut(kind) {
            let asks = tracked.subscription.update(subscribe, unsubscribe);
            if asks {
                check_names(&tracked.subscription, &request.type_url)?;
            }
            asks
        } else {
            let mut subscription = Subscription::first(subscribe, unsubscribe);
            check_names(&subscription, &request.type_url)?;
            if !request.initial_resource_versions.is_empty() {
                let view = View {
                    kind,
                    fleet: self.identity.as_ref().map_or("", |node| &node.fleet),
                    subscription: &subscription,
                };
                let owed = resume(&view, &request.initial_resource_versions, &self.snapshot);
                subscription.set_owed(owed);
                if !believed {
                    // What is gone stays owed beside it, to be removed.
                    subscription.owe_everything();
                }
            }
            if let Some(place) = self.kinds.get_mut(kind.index()) {
                *place = Some(Tracked {
                    subscription,
                    base: self.snapshot.clone(),
                    acknowledged: None,
                });
            }
            true
        };
        self.asked |= asks;
        Ok(())
    }

    fn on_revision(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Close> {
        let subscribe = &request.resource_names_subscribe;
        let unsubscribe = &request.resource_names_unsubscribe;
        if let Some(subscription) = &mut self.revision {
            self.asked |= subscription.update(subscribe, unsubscribe);
            return check_names(subscription, &request.type_url);
        }
        let subscription = Subscription::first(subscribe, unsubscribe);
        check_names(&subscription, &request.type_url)?;
        self.revision = Some(subscription);
        self.asked = true;
        let version = request.initial_resource_versions.get(BARRIER_NAME);
        let position = version.and_then(|version| version.parse().ok());
        let position = position.filter(|position| self.snapshot.follows(*position));
        self.origin = match (position, version) {
            (Some(_), _) => Origin::Ours,
            (None, Some(_)) => Origin::Foreign,
            (None, None) => Origin::Fresh,
        };
        // Who did not announce the barrier has been served on this stream already.
        if position.is_none() && self.announced_barrier {
            self.disbelieve_versions();
        }
        self.claimed = position
            .map(|position| position.number)
            // Of the newest one only an acknowledgement is believed.
            .filter(|claimed| *claimed < self.snapshot.revision());
        Ok(())
    }

    /// What the client has is not of this store's history, so its versions say nothing even where
    /// the numbers are equal: it is sent everything.
    fn disbelieve_versions(&mut self) {
        for tracked in self.kinds.iter_mut().flatten() {
            tracked.subscription.owe_everything();
        }
    }

    fn on_unknown(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Close> {
        let url = &request.type_url;
        let subscribe = &request.resource_names_subscribe;
        let unsubscribe = &request.resource_names_unsubscribe;
        if let Some(unknown) = self.unknown.get_mut(url) {
            unknown.subscription.update(subscribe, unsubscribe);
            return check_names(&unknown.subscription, url);
        }
        self.fault("an unknown type");
        let bounded = self.unknown.len() < MAX_UNKNOWN_TYPES && url.len() <= MAX_NAME;
        if url.is_empty() || !bounded {
            return Ok(());
        }
        let subscription = Subscription::first(subscribe, unsubscribe);
        check_names(&subscription, url)?;
        let unknown = Unknown {
            subscription,
            unanswered: None,
        };
        self.unknown.insert(url.clone(), unknown);
        Ok(())
    }

    fn mode(&self) -> Mode {
        match &self.revision {
            Some(subscription) if subscription.wants(BARRIER_NAME) => Mode::Barrier,
            None if self.announced_barrier || self.identity.is_none() => Mode::Waiting,
            _ => Mode::Plain,
        }
    }

    /// Begins a push if one is due and none is under way.
    fn advance(&mut self, now_ms: i64) {
        let refused = self.held.is_some_and(|r| self.snapshot.revision() <= r);
        if self.push.is_some() || (refused && !self.asked) || self.withholds(now_ms) {
            return;
        }
        let push = match self.mode() {
            Mode::Waiting => None,
            // An empty store that never held anything, more likely by mishap than by intent, does
            // not take from proxies what they serve: they wait for its first revision.
            Mode::Barrier if self.origin == Origin::Foreign && self.snapshot.revision() == 0 => {
                return;
            }
            Mode::Barrier => self.begin_whole(now_ms),
            Mode::Plain => {
                let push = self.begin_stepwise(now_ms);
                if push.is_none() {
                    // What it refused does not concern it any more.
                    self.refusal = None;
                }
                push
            }
        };
        if push.is_some() {
            self.tally.pushes += 1;
            self.held = None;
            self.push = push;
        }
        self.asked = false;
    }
}

impl Unknown {
    fn waits(&self) -> bool {
        self.unanswered.is_none() && !self.subscription.owed().is_empty()
    }
}

#[cfg(test)]
mod tests;
