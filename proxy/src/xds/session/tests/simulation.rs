//! A server, its commits and a network that all do as a seed says. Whatever happens, a proxy has
//! in force exactly one revision that is valid, and never half of one.

use fleetway_api::Id;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// What a server knows of a resource: the message as sent, and the cluster it needs.
#[derive(Debug, Clone)]
struct Stored {
    wire: WireResource,
    needs: Option<String>,
    broken: bool,
}

/// By the index of the kind, and the name.
type Key = (usize, String);
type State = BTreeMap<Key, Stored>;
type Versions = BTreeMap<Key, String>;

struct Server {
    /// The state after each revision.
    history: Vec<State>,
    nonce: u64,
}

impl Server {
    fn commit(&mut self, rng: &mut StdRng) {
        let mut state = self.latest().clone();
        let version = self.history.len().to_string();
        for _ in 0..rng.random_range(1..4) {
            let name = format!("c{}", rng.random_range(0..4));
            let of_route = format!("r{}", rng.random_range(0..6));
            match rng.random_range(0..12) {
                0 => {
                    state.remove(&(Kind::Cluster.index(), name));
                }
                1..4 => {
                    state.remove(&(Kind::Route.index(), of_route));
                }
                4..8 => {
                    let mut wire = cluster(&version, &name);
                    let broken = rng.random_ratio(1, 20);
                    if broken && let Some(any) = wire.resource.as_mut() {
                        any.value = vec![0xff; 3];
                    }
                    let stored = Stored {
                        wire,
                        needs: None,
                        broken,
                    };
                    state.insert((Kind::Cluster.index(), name), stored);
                }
                _ => {
                    let stored = Stored {
                        wire: route(&version, &of_route, &name),
                        needs: Some(name),
                        broken: false,
                    };
                    state.insert((Kind::Route.index(), of_route), stored);
                }
            }
        }
        self.history.push(state);
    }

    fn latest(&self) -> &State {
        self.history.last().unwrap()
    }

    fn next_nonce(&mut self) -> String {
        self.nonce += 1;
        self.nonce.to_string()
    }

    /// The responses that take a proxy with these versions to the latest revision.
    fn push(&mut self, has: &Versions, rng: &mut StdRng) -> Vec<DeltaDiscoveryResponse> {
        let revision = self.history.len() as u64 - 1;
        let state = self.latest().clone();
        let mut responses = Vec::new();
        for kind in Kind::ALL {
            let mut resources: Vec<_> = state
                .iter()
                .filter(|(key, _)| key.0 == kind.index())
                .filter(|(key, stored)| has.get(*key) != Some(&stored.wire.version))
                .map(|(_, stored)| stored.wire.clone())
                .collect();
            let removed: Vec<_> = has
                .keys()
                .filter(|key| key.0 == kind.index() && !state.contains_key(*key))
                .map(|(_, name)| name.as_str())
                .collect();
            // Large changes come in several responses.
            while resources.len() > 1 && rng.random() {
                let part = resources.split_off(resources.len() / 2);
                let nonce = self.next_nonce();
                responses.push(response(kind, revision, &nonce, part, &[]));
            }
            if !resources.is_empty() || !removed.is_empty() {
                let nonce = self.next_nonce();
                responses.push(response(kind, revision, &nonce, resources, &removed));
            }
        }
        let nonce = self.next_nonce();
        responses.push(barrier(revision, &nonce));
        responses
    }
}

fn is_valid(state: &State) -> bool {
    state.values().all(|stored| {
        let found = |name: &String| state.contains_key(&(Kind::Cluster.index(), name.clone()));
        !stored.broken && stored.needs.as_ref().is_none_or(found)
    })
}

fn as_contents(state: &State) -> BTreeMap<String, (String, Vec<u8>)> {
    let one = |((kind, name), stored): (&Key, &Stored)| {
        let id = Id::new(Kind::ALL[*kind], name.parse().unwrap());
        let value = stored.wire.resource.clone().unwrap().value;
        (id.to_string(), (stored.wire.version.clone(), value))
    };
    state.iter().map(one).collect()
}

/// What the subscriptions say the proxy has.
fn reported(requests: &[DeltaDiscoveryRequest]) -> Versions {
    let mut has = Versions::new();
    for request in requests {
        if let Some(kind) = Kind::from_type_url(&request.type_url) {
            for (name, version) in &request.initial_resource_versions {
                has.insert((kind.index(), name.clone()), version.clone());
            }
        }
    }
    has
}

fn versions_of(state: &State) -> Versions {
    let version = |(key, stored): (&Key, &Stored)| (key.clone(), stored.wire.version.clone());
    state.iter().map(version).collect()
}

/// A proxy and its server, over many streams.
struct World {
    rng: StdRng,
    server: Server,
    in_force: Held,
    applied: usize,
    refused: usize,
}

impl World {
    fn accepted(&self) -> &State {
        &self.server.history[usize::try_from(self.in_force.revision().number).unwrap()]
    }

    fn stream(&mut self) {
        let node = Node {
            id: "p".into(),
            fleet: "f".into(),
        };
        let (mut session, requests) = Session::start(&node, &[], self.in_force.clone());
        assert_eq!(
            reported(&requests),
            versions_of(self.accepted()),
            "what is reported is what is in force"
        );
        for _ in 0..self.rng.random_range(1..6) {
            self.server.commit(&mut self.rng);
            let has = versions_of(self.accepted());
            let responses = self.server.push(&has, &mut self.rng);
            // The stream may break off in the midst of a push.
            let whole = responses.len();
            let heard = if self.rng.random_ratio(1, 5) {
                self.rng.random_range(0..whole)
            } else {
                whole
            };
            if !self.hear(&mut session, responses, heard) {
                return;
            }
        }
    }

    /// The proxy hears so many of the responses; false if that is not all of them.
    fn hear(
        &mut self,
        session: &mut Session,
        responses: Vec<DeltaDiscoveryResponse>,
        heard: usize,
    ) -> bool {
        let nonces: Vec<_> = responses
            .iter()
            .map(|response| response.nonce.clone())
            .collect();
        let mut actions = Vec::new();
        for response in responses.into_iter().take(heard) {
            actions.extend(session.received(response).unwrap());
        }
        if heard < nonces.len() {
            assert!(actions.is_empty(), "half a push has no effect");
            return false;
        }
        let Some(Action::Apply(push)) = actions.pop() else {
            panic!("the barrier makes a push")
        };
        let mut outcome = push.build().map(|candidate| candidate.held);
        assert_eq!(
            outcome.is_ok(),
            is_valid(self.server.latest()),
            "{outcome:?}"
        );
        if self.rng.random_ratio(1, 6) && outcome.is_ok() {
            outcome = Err(vec![FieldError::new("listeners/l", "address", "is in use")]);
        }
        let answers = match &outcome {
            Ok(held) => session.applied(Ok(held.clone())),
            Err(faults) => session.applied(Err(faults)),
        };
        let answered: Vec<_> = answers
            .iter()
            .map(|action| match action {
                Action::Send(request) => {
                    assert_eq!(request.error_detail.is_none(), outcome.is_ok());
                    request.response_nonce.clone()
                }
                Action::Apply(_) => panic!("there is no other push"),
            })
            .collect();
        assert_eq!(answered, nonces, "every response is answered, in order");
        match outcome {
            Ok(held) => {
                self.in_force = held;
                self.applied += 1;
            }
            Err(_) => self.refused += 1,
        }
        assert!(is_valid(self.accepted()));
        assert_eq!(contents(&self.in_force), as_contents(self.accepted()));
        true
    }
}

#[test]
fn the_set_in_force_is_always_the_last_revision_accepted_in_full() {
    let (mut applied, mut refused) = (0, 0);
    for seed in 0..80 {
        println!("seed {seed}");
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            server: Server {
                history: vec![State::new()],
                nonce: 0,
            },
            in_force: Held::default(),
            applied: 0,
            refused: 0,
        };
        for _ in 0..15 {
            world.stream();
        }
        applied += world.applied;
        refused += world.refused;
    }
    println!("{applied} applied, {refused} refused");
    assert!(applied > 500 && refused > 500, "both are to happen often");
}
