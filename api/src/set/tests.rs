//! A set against a checker that looks at everything from scratch.

use std::{collections::BTreeSet, sync::Arc};

use fleetway_proto::v1;
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;

/// A change in short: a resource, or which one to delete.
#[derive(Debug, Clone)]
enum Step {
    Put(Box<v1::Resource>),
    Delete(Kind, &'static str),
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn names(most: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(NAMES.to_vec(), 0..=most)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn fleets() -> impl Strategy<Value = Vec<String>> {
    subsequence(vec!["x", "y"], 0..=2)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn members(port: u16, count: usize) -> Vec<v1::Endpoint> {
    (0..count)
        .map(|index| v1::Endpoint {
            address: format!("10.0.0.{index}:{port}"),
            weight: None,
        })
        .collect()
}

fn resource() -> impl Strategy<Value = v1::Resource> {
    use v1::resource::Kind as Of;
    let cluster = (name(), fleets(), 0..2_usize).prop_map(|(name, fleets, count)| {
        Of::Cluster(v1::Cluster {
            name,
            fleets,
            endpoints: members(80, count),
            ..Default::default()
        })
    });
    let endpoints = (name(), fleets()).prop_map(|(name, fleets)| {
        Of::Endpoints(v1::Endpoints {
            name,
            fleets,
            endpoints: members(81, 1),
            ..Default::default()
        })
    });
    let protocol = prop_oneof![
        3 => Just(v1::listener::Protocol::Http(v1::HttpListener::default())),
        1 => name().prop_map(|name| v1::listener::Protocol::Tcp(v1::TcpListener {
            clusters: vec![v1::WeightedCluster { name, weight: None }],
            ..Default::default()
        })),
    ];
    let listener =
        (name(), fleets(), 0..3_u16, protocol).prop_map(|(name, fleets, port, protocol)| {
            Of::Listener(v1::Listener {
                name,
                fleets,
                address: format!("127.0.0.1:{port}"),
                protocol: Some(protocol),
                ..Default::default()
            })
        });
    let action = prop_oneof![
        names(2)
            .prop_filter("a cluster", |names| !names.is_empty())
            .prop_map(|names| v1::route::Action::Forward(v1::Forward {
                clusters: names
                    .into_iter()
                    .map(|name| v1::WeightedCluster { name, weight: None })
                    .collect(),
                ..Default::default()
            })),
        Just(v1::route::Action::Respond(v1::DirectResponse {
            status: 200,
            ..Default::default()
        })),
    ];
    let hosts = subsequence(vec!["*", "h", "*.h"], 0..=2);
    let methods = subsequence(vec!["GET", "PUT"], 0..=2).prop_shuffle();
    let route = (name(), fleets(), names(2), 0..2_i32, hosts, methods, action).prop_map(
        |(name, fleets, listeners, priority, hosts, methods, action)| {
            Of::Route(v1::Route {
                name,
                fleets,
                listeners,
                priority,
                r#match: Some(v1::RouteMatch {
                    hosts: hosts.into_iter().map(str::to_owned).collect(),
                    methods: methods.into_iter().map(str::to_owned).collect(),
                    ..Default::default()
                }),
                action: Some(action),
                ..Default::default()
            })
        },
    );
    prop_oneof![2 => cluster, 1 => endpoints, 1 => listener, 2 => route]
        .prop_map(|kind| v1::Resource { kind: Some(kind) })
}

fn step() -> impl Strategy<Value = Step> {
    let delete = (
        proptest::sample::select(Kind::ALL.to_vec()),
        proptest::sample::select(NAMES.to_vec()),
    );
    prop_oneof![
        4 => resource().prop_map(|message| Step::Put(Box::new(message))),
        1 => delete.prop_map(|(kind, name)| Step::Delete(kind, name)),
    ]
}

/// At most one change for each resource: the last.
fn changes(steps: &[Step]) -> Vec<Change<()>> {
    let mut changes: BTreeMap<Id, Change<()>> = BTreeMap::new();
    for step in steps {
        let change = match step {
            Step::Put(message) => Change::Put(Arc::new(Entry {
                resource: Resource::read((**message).clone()).unwrap(),
                data: (),
            })),
            Step::Delete(kind, name) => Change::Delete(Id::new(*kind, Name::new(name).unwrap())),
        };
        changes.insert(change.id(), change);
    }
    changes.into_values().collect()
}

type Flat = BTreeMap<Id, Resource>;

fn flat<T>(set: &ResourceSet<T>) -> Flat {
    set.iter()
        .map(|entry| (entry.resource.id(), entry.resource.clone()))
        .collect()
}

fn changed(mut all: Flat, changes: &[Change<()>]) -> Flat {
    for change in changes {
        match change {
            Change::Put(entry) => all.insert(change.id(), entry.resource.clone()),
            Change::Delete(id) => all.remove(id),
        };
    }
    all
}

/// What is wrong with the resources together, found by looking at every one and every pair.
/// First: whose references do not hold. Second: which pairs are in conflict.
fn faults(all: &Flat) -> (BTreeSet<Id>, BTreeSet<(Id, Id)>) {
    let mut broken = BTreeSet::new();
    let mut pairs = BTreeSet::new();
    for (id, one) in all {
        one.references(|role, name, _| {
            let fleets = &one.common().fleets;
            let good = all
                .get(&Id::new(role.kind(), name.clone()))
                .is_some_and(|target| {
                    let fits = match (one, target) {
                        (Resource::Endpoints(_), Resource::Cluster(cluster)) => {
                            cluster.endpoints.is_empty()
                        }
                        (Resource::Route(_), Resource::Listener(listener)) => {
                            listener.takes_routes()
                        }
                        _ => true,
                    };
                    target.common().fleets.covers(fleets) && fits
                });
            if !good {
                broken.insert(id.clone());
            }
        });
        for (other_id, other) in all.range(id.clone()..) {
            if id != other_id && one.conflict(other).is_some() {
                pairs.insert((id.clone(), other_id.clone()));
            }
        }
    }
    (broken, pairs)
}

fn assert_same_indexes(set: &ResourceSet<()>) {
    let mut fresh = ResourceSet::default();
    for entry in set.iter() {
        fresh.index(&entry.resource);
        fresh
            .of_mut(entry.resource.kind())
            .insert(entry.resource.name().clone(), entry.clone());
    }
    assert_eq!(set.referrers, fresh.referrers);
    let sorted = |set: &ResourceSet<()>| -> BTreeMap<Claim, BTreeSet<Id>> {
        set.claims
            .iter()
            .map(|(claim, ids)| (*claim, ids.iter().cloned().collect()))
            .collect()
    };
    assert_eq!(sorted(set), sorted(&fresh));
    for (claim, ids) in &set.claims {
        let distinct: BTreeSet<&Id> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "claim {claim} twice by one");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_set_accepts_what_a_check_of_everything_accepts(
        rounds in vec(vec(step(), 1..6), 1..24),
    ) {
        let mut set = ResourceSet::default();
        for steps in rounds {
            let before = flat(&set);
            let wanted = changed(before.clone(), &changes(&steps));
            let (broken, pairs) = faults(&wanted);
            match set.apply(changes(&steps)) {
                Ok(next) => {
                    prop_assert!(broken.is_empty() && pairs.is_empty(), "{broken:?} {pairs:?}");
                    prop_assert_eq!(
                        format!("{:?}", flat(&next)),
                        format!("{:?}", wanted)
                    );
                    assert_same_indexes(&next);
                    set = next;
                }
                Err(rejection) => {
                    prop_assert!(!broken.is_empty() || !pairs.is_empty(), "{rejection}");
                    // It stays as it was, and usable.
                    prop_assert_eq!(format!("{:?}", flat(&set)), format!("{before:?}"));
                    assert_same_indexes(&set);
                    assert_told(&rejection, &wanted, &broken, &pairs);
                }
            }
        }
    }
}

/// Every fault is in the rejection once, and nothing else is.
fn assert_told(
    rejection: &Rejection,
    wanted: &Flat,
    broken: &BTreeSet<Id>,
    pairs: &BTreeSet<(Id, Id)>,
) {
    let deleted = |error: &&FieldError| error.message.starts_with("cannot be deleted");
    let text = rejection.to_string();
    // References: told by the resource, or as what keeps its target from being deleted.
    for id in broken {
        let told = rejection.errors.iter().any(|error| {
            let as_referrer = deleted(&error) && error.message.contains(&id.to_string());
            error.resource == id.to_string() || as_referrer
        });
        assert!(told, "{id} is not in: {text}");
    }
    let of_conflicts = rejection
        .errors
        .iter()
        .filter(|error| error.field == "match" || error.field == "address")
        .count();
    assert_eq!(of_conflicts, pairs.len(), "{text}");
    for error in &rejection.errors {
        let resource = &error.resource;
        let here = wanted.keys().any(|id| id.to_string() == *resource);
        assert_ne!(deleted(&error), here, "{text}");
    }
    let sole = rejection.errors.iter().all(|error| deleted(&error));
    assert_eq!(!rejection.referrers.is_empty(), sole, "{text}");
    for id in &rejection.referrers {
        assert!(broken.contains(id), "{id}: {text}");
    }
}

#[test]
fn a_refused_deletion_names_the_referrers_whatever_else_is_changed_well() {
    let cluster = |name: &str| {
        Step::Put(Box::new(v1::Resource {
            kind: Some(v1::resource::Kind::Cluster(v1::Cluster {
                name: name.to_owned(),
                ..Default::default()
            })),
        }))
    };
    let endpoints = Step::Put(Box::new(v1::Resource {
        kind: Some(v1::resource::Kind::Endpoints(v1::Endpoints {
            name: "a".to_owned(),
            ..Default::default()
        })),
    }));
    let set = ResourceSet::default()
        .apply(changes(&[cluster("a"), endpoints]))
        .unwrap();
    let steps = [Step::Delete(Kind::Cluster, "a"), cluster("b")];
    let rejection = set.apply(changes(&steps)).unwrap_err();
    let referrers: Vec<String> = rejection.referrers.iter().map(Id::to_string).collect();
    assert_eq!(referrers, ["endpoints/a"]);
}

#[test]
fn what_is_invalid_by_itself_is_neither_missing_nor_in_the_way() {
    use serde_json::json;
    let puts = |documents: serde_json::Value| -> Vec<Change<()>> {
        let text = documents.to_string();
        let read = document::read_all(&text, document::Format::Json, "test").unwrap();
        read.into_iter()
            .map(|(_, resource)| Change::Put(Arc::new(Entry { resource, data: () })))
            .collect()
    };
    let route = |name: &str, prefix: &str, cluster: &str| {
        json!({
            "kind": "Route", "name": name, "match": {"path": {"prefix": prefix}},
            "forward": {"clusters": [{"name": cluster}]},
        })
    };
    let set = ResourceSet::default().apply(puts(json!([
        {"kind": "Cluster", "name": "old"}, route("there", "/there", "old"),
    ])));
    let set = set.unwrap();
    let told = |invalid: serde_json::Value| -> Vec<String> {
        let mut changes = puts(json!([
            route("a", "/a", "bad"),
            route("b", "/b", "none"),
            route("c", "/there", "none2"),
        ]));
        let id = Id::new(Kind::Cluster, Name::new("old").unwrap());
        changes.push(Change::Delete(id));
        let invalid = Invalid::of(invalid.as_array().unwrap());
        let faults = set.faults(changes, &invalid);
        faults
            .iter()
            .map(|fault| format!("{} {}", fault.resource, fault.field))
            .collect()
    };
    let clusters = "forward.clusters[0].name";
    let missing = |names: [&str; 2]| names.map(|name| format!("routes/{name} {clusters}"));
    // The route that is there is put anew: it no longer takes those requests, nor needs `old`.
    assert_eq!(
        told(json!([{"kind": "Cluster", "name": "bad"}, {"kind": "Route", "name": "there"}])),
        missing(["b", "c"])
    );
    assert_eq!(
        told(json!([{"kind": "Cluster", "name": "bad"}])),
        [
            vec!["clusters/old ".to_owned()],
            missing(["b", "c"]).to_vec(),
            vec!["routes/c match".to_owned()],
        ]
        .concat()
    );
    // Which it is cannot be told: it may be any that is missed.
    assert_eq!(told(json!([null])), ["routes/c match"]);
}
