//! Whatever happens on the way, a client ends with what it may see of the server's state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::delta::{
    subscription::WILDCARD,
    testing::{Edit, naming, try_next},
};
use crate::snapshot::Epoch;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const FLEETS: [&[&str]; 4] = [&[], &["a"], &["b"], &["a", "b"]];

/// What may happen.
#[derive(Debug, Clone)]
enum Event {
    Commit(Vec<Edit>),
    /// The server sends a response.
    Send,
    /// The client takes a response and likes it or not.
    Take(bool),
    /// The server takes a request.
    Receive,
    Subscribe(Kind, &'static str),
    Unsubscribe(Kind, &'static str),
    Reconnect,
}

fn kinds() -> impl Strategy<Value = Kind> {
    // Components are named by their bytes, and policies need them.
    prop::sample::select(vec![Kind::Secret, C, E, L, R])
}

fn edits() -> impl Strategy<Value = Edit> {
    let names = || prop::sample::select(NAMES.to_vec());
    let fleets = || prop::sample::select(FLEETS.to_vec());
    prop_oneof![
        3 => (kinds(), names(), fleets()).prop_map(|(kind, name, fleets)| put(kind, name, fleets)),
        2 => (names(), fleets()).prop_map(|(name, fleets)| put(Kind::Secret, name, fleets)),
        3 => (names(), fleets(), prop::sample::subsequence(NAMES.to_vec(), 1..3))
            .prop_map(|(name, fleets, secrets)| naming(name, fleets, &secrets)),
        2 => (kinds(), names()).prop_map(|(kind, name)| delete(kind, name)),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let names = || prop::sample::select([&NAMES[..], &[WILDCARD, "none"]].concat());
    prop_oneof![
        4 => prop::collection::vec(edits(), 1..5).prop_map(Event::Commit),
        8 => Just(Event::Send),
        8 => prop::bool::weighted(0.85).prop_map(Event::Take),
        8 => Just(Event::Receive),
        1 => (kinds(), names()).prop_map(|(kind, name)| Event::Subscribe(kind, name)),
        1 => (kinds(), names()).prop_map(|(kind, name)| Event::Unsubscribe(kind, name)),
        1 => Just(Event::Reconnect),
    ]
}

/// The simplest client that keeps to the protocol.
#[derive(Default)]
struct Client {
    barrier: bool,
    /// It subscribes to the barrier before anything else.
    barrier_first: bool,
    wildcard: BTreeMap<Kind, bool>,
    names: BTreeMap<Kind, BTreeSet<String>>,
    held: BTreeMap<(Kind, String), Resource>,
    /// The version of the last barrier.
    position: Option<String>,
    staged: Vec<Response>,
    refused: bool,
    live: u64,
}

impl Client {
    fn wants(&self, kind: Kind, name: &str) -> bool {
        self.wildcard.get(&kind) == Some(&true)
            || self.names.get(&kind).is_some_and(|n| n.contains(name))
    }

    fn drop_unwanted(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.retain(|(kind, name), _| self.wants(*kind, name));
        self.held = held;
    }

    /// The first requests on a new stream.
    fn greet(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.staged.clear();
        self.refused = false;
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            let mut names: Vec<String> = self
                .names
                .get(&kind)
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            match (self.wildcard.get(&kind), names.is_empty()) {
                // Half the kinds in the older way: nothing stands for everything.
                (Some(true), true) if kind.index() % 2 == 0 => {}
                (Some(true), _) => names.push(WILDCARD.to_owned()),
                (_, true) => continue,
                (_, false) => {}
            }
            let held = self.held.iter().filter(|((of, _), _)| *of == kind);
            requests.push(DeltaDiscoveryRequest {
                resource_names_subscribe: names,
                initial_resource_versions: held
                    .map(|((_, name), resource)| (name.clone(), resource.version.clone()))
                    .collect(),
                ..request(kind.type_url())
            });
        }
        if self.barrier {
            let position = self.position.clone();
            requests.push(DeltaDiscoveryRequest {
                initial_resource_versions: position
                    .map(|position| (BARRIER_NAME.to_owned(), position))
                    .into_iter()
                    .collect(),
                ..request(type_url::REVISION)
            });
            requests.rotate_right(usize::from(self.barrier_first));
        }
        if requests.is_empty() {
            requests.push(request("type.example/Nothing"));
        }
        requests[0].node = Some(node(self.barrier));
        requests
    }

    fn apply(&mut self, response: &Response) {
        let Some(kind) = Kind::from_type_url(&response.type_url) else {
            return;
        };
        for resource in resources(response) {
            if self.wants(kind, &resource.name) {
                self.held.insert((kind, resource.name.clone()), resource);
            }
        }
        for name in &response.removed {
            self.held.remove(&(kind, name.to_string()));
        }
    }

    fn take(&mut self, response: Response, likes: bool) -> Vec<DeltaDiscoveryRequest> {
        if response.type_url.starts_with("type.example") {
            return vec![ack(&response)];
        }
        if !self.barrier {
            return if likes {
                self.apply(&response);
                vec![ack(&response)]
            } else {
                vec![nack(&response, "no")]
            };
        }
        if response.type_url != type_url::REVISION {
            if !likes {
                self.refused = true;
                return vec![nack(&response, "no")];
            }
            self.staged.push(response);
            return Vec::new();
        }
        let refused = std::mem::take(&mut self.refused) || !likes;
        let staged = std::mem::take(&mut self.staged);
        if refused {
            let all = staged.iter().chain([&response]);
            return all.map(|response| nack(response, "no")).collect();
        }
        for response in &staged {
            self.apply(response);
        }
        self.live = response.revision;
        self.position = resources(&response).pop().map(|barrier| barrier.version);
        staged.iter().chain([&response]).map(ack).collect()
    }
}

struct World {
    snapshot: Arc<Snapshot>,
    session: Session,
    streams: u64,
    client: Client,
    to_client: VecDeque<Response>,
    to_server: VecDeque<DeltaDiscoveryRequest>,
}

impl World {
    fn new(barrier: bool) -> Self {
        let snapshot = Arc::new(Snapshot::default());
        let client = Client {
            barrier,
            wildcard: Kind::ALL.map(|kind| (kind, true)).into(),
            ..Client::default()
        };
        let mut world = Self {
            session: Session::new(0, snapshot.clone()).exposed(Exposure::None),
            snapshot,
            streams: 0,
            client,
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.streams += 1;
        self.session = Session::new(self.streams, self.snapshot.clone()).exposed(Exposure::None);
        self.to_client.clear();
        self.to_server = self.client.greet().into();
    }

    fn commit(&mut self, edits: &[Edit]) {
        let mut seen = BTreeSet::new();
        let mut edits = edits.to_vec();
        edits.retain(|edit| seen.insert(edit.id()));
        if let Some(next) = try_next(&self.snapshot, &edits) {
            self.snapshot = next;
            self.session.on_snapshot(self.snapshot.clone(), 0);
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Commit(edits) => self.commit(edits),
            Event::Send => self.to_client.extend(self.session.next_response()),
            Event::Take(likes) => {
                if let Some(response) = self.to_client.pop_front() {
                    self.to_server.extend(self.client.take(response, *likes));
                }
            }
            Event::Receive => {
                if let Some(request) = self.to_server.pop_front() {
                    self.session.on_request(request, 0).unwrap();
                }
            }
            Event::Subscribe(kind, name) => {
                if *name == WILDCARD {
                    self.client.wildcard.insert(*kind, true);
                } else {
                    let names = self.client.names.entry(*kind).or_default();
                    names.insert((*name).to_owned());
                }
                self.to_server
                    .push_back(subscribe(kind.type_url(), &[name]));
            }
            Event::Unsubscribe(kind, name) => {
                if *name == WILDCARD {
                    self.client.wildcard.insert(*kind, false);
                } else {
                    let names = self.client.names.entry(*kind).or_default();
                    if !names.remove(*name) {
                        return;
                    }
                }
                self.client.drop_unwanted();
                self.to_server.push_back(DeltaDiscoveryRequest {
                    resource_names_unsubscribe: vec![(*name).to_owned()],
                    ..request(kind.type_url())
                });
            }
            Event::Reconnect => self.connect(),
        }
    }

    /// The server starts anew with `state` in its store, which it takes for the newest there is.
    fn restore(&mut self, state: &Snapshot) {
        let epoch = Epoch {
            first: state.revision() + 1,
            id: self.streams,
        };
        let history = state.history().and(epoch);
        self.snapshot = Arc::new(state.clone().with_history(history));
    }

    /// Everything on its way arrives and is liked.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.to_server.is_empty()
                && self.to_client.is_empty()
                && !self.session.has_response()
            {
                return;
            }
            for event in [Event::Receive, Event::Send, Event::Take(true)] {
                self.happens(&event);
            }
        }
        panic!("does not come to rest");
    }

    /// Whether a listener of the client's fleet names the secret.
    fn named(&self, secret: &str) -> bool {
        let listeners = self.snapshot.resources().of(Kind::Listener).values();
        let listeners = listeners.filter_map(|entry| match &entry.resource {
            fleetway_api::Resource::Listener(listener) => Some(listener),
            _ => None,
        });
        listeners
            .filter(|listener| listener.common.fleets.contains("a"))
            .filter_map(|listener| listener.tls.as_ref())
            .any(|tls| tls.certificates.iter().any(|name| name.as_str() == secret))
    }

    fn expected(&self) -> BTreeMap<(Kind, String), Resource> {
        self.snapshot
            .resources()
            .iter()
            .filter(|entry| {
                let name = entry.resource.name().as_str();
                let goes = entry.resource.common().fleets.contains("a");
                let shown = entry.resource.kind() != Kind::Secret || self.named(name);
                goes && shown && self.client.wants(entry.resource.kind(), name)
            })
            .map(|entry| {
                let resource = Resource::decode(entry.data.encoded.frame().clone()).unwrap();
                ((entry.resource.kind(), resource.name.clone()), resource)
            })
            .collect()
    }
}

#[test]
fn a_walk_over_secrets_meets_listeners_that_name_them() {
    let mut world = World::new(true);
    world.commit(&[
        put(Kind::Secret, "a", &[]),
        put(Kind::Secret, "b", &["b"]),
        put(Kind::Secret, "c", &[]),
        naming("a", &["a"], &["a"]),
        naming("b", &["b"], &["a", "b", "c"]),
    ]);
    world.settle();
    let held = |world: &World| {
        let held = world.client.held.keys();
        held.filter(|(kind, _)| *kind == Kind::Secret)
            .map(|(_, name)| name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(held(&world), ["a"]);
    world.commit(&[naming("a", &["a"], &["c"])]);
    world.settle();
    assert_eq!(held(&world), ["c"]);
    world.commit(&[naming("b", &["a", "b"], &["a"])]);
    world.settle();
    assert_eq!(held(&world), ["a", "c"]);
    world.commit(&[
        delete(Kind::Listener, "a"),
        put(Kind::Listener, "b", &["a"]),
    ]);
    world.settle();
    assert!(held(&world).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_client_ends_with_the_servers_state(
        barrier: bool,
        events in prop::collection::vec(events(), 0..120),
    ) {
        let mut world = World::new(barrier);
        for event in &events {
            world.happens(event);
        }
        world.settle();
        // What was refused last is sent again with something newer only.
        world.commit(&[put(Kind::Route, "last", &[])]);
        world.settle();
        prop_assert_eq!(&world.client.held, &world.expected());
        let facts = world.session.facts();
        prop_assert_eq!(facts.refusal, None);
        prop_assert_eq!(facts.in_flight, None);
        if barrier {
            prop_assert_eq!(world.client.live, world.snapshot.revision());
        }
        if barrier || !facts.types.is_empty() {
            prop_assert!(facts.live_revision == Some(world.snapshot.revision())
                || facts.types.iter().all(|of| of.type_url.starts_with("type.example")));
        }
    }

    #[test]
    fn whole_revisions_are_whole(
        events in prop::collection::vec(events(), 0..120),
    ) {
        let mut world = World::new(true);
        let mut states = BTreeMap::from([(0, world.snapshot.clone())]);
        for event in &events {
            if matches!(event, Event::Subscribe(..) | Event::Unsubscribe(..)) {
                continue;
            }
            let live = world.client.live;
            world.happens(event);
            states.insert(world.snapshot.revision(), world.snapshot.clone());
            if world.client.live != live {
                let newest = std::mem::replace(
                    &mut world.snapshot,
                    states[&world.client.live].clone(),
                );
                prop_assert_eq!(&world.client.held, &world.expected());
                world.snapshot = newest;
            }
        }
    }

    #[test]
    fn a_store_put_back_from_a_copy_is_told_from_what_it_was(
        barrier_first: bool,
        before in prop::collection::vec(prop::collection::vec(edits(), 1..5), 1..8),
        copied: prop::sample::Index,
        after in prop::collection::vec(prop::collection::vec(edits(), 1..5), 0..8),
    ) {
        let mut world = World::new(true);
        let mut states = vec![world.snapshot.clone()];
        for edits in &before {
            world.commit(edits);
            states.push(world.snapshot.clone());
        }
        world.settle();
        world.restore(&copied.get(&states).clone());
        for edits in &after {
            world.commit(edits);
        }
        // An empty store takes nothing from anyone.
        world.commit(&[put(Kind::Cluster, "last", &[])]);
        world.client.barrier_first = barrier_first;
        world.connect();
        world.settle();
        prop_assert_eq!(&world.client.held, &world.expected());
    }
}
