//! Random transactions against a map.

use std::{collections::BTreeMap, sync::Arc};

use fleetway_api::{Id, Kind, Name, proto::v1, rest::Outcome};
use fleetway_xds::{
    commit::{CommitError, Committer, Condition, Operation, Transaction},
    store::SledStore,
};
use proptest::prelude::*;

/// What the model knows of a resource: its version and label.
type Model = BTreeMap<Id, (u64, u8)>;

#[derive(Debug, Clone)]
struct Step {
    kind: Kind,
    name: u8,
    /// The label to put; `None` to delete.
    put: Option<u8>,
    condition: Wanted,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    None,
    Exists,
    Absent,
    /// The version it has in the model.
    Current,
    Version(u64),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let kind =
        prop_oneof![3 => Just(Kind::Cluster), 2 => Just(Kind::Route), 1 => Just(Kind::Endpoints)];
    let condition = prop_oneof![
        6 => Just(Wanted::None),
        1 => Just(Wanted::Exists),
        1 => Just(Wanted::Absent),
        2 => Just(Wanted::Current),
        1 => (0..10_u64).prop_map(Wanted::Version),
    ];
    let step = (
        kind,
        0..3_u8,
        prop::option::weighted(0.7, 0..3_u8),
        condition,
    )
        .prop_map(|(kind, name, put, condition)| Step {
            kind,
            name,
            put,
            condition,
        });
    prop::collection::vec(prop::collection::vec(step, 0..4), 1..25)
}

fn id(step: &Step) -> Id {
    Id::new(step.kind, Name::new(&format!("n{}", step.name)).unwrap())
}

/// Route and endpoints `nX` refer to the cluster `nX`; the label tells contents apart.
fn message(id: &Id, label: u8) -> v1::Resource {
    let name = id.name.to_string();
    let labels = BTreeMap::from([("n".to_owned(), label.to_string())]);
    let kind = match id.kind {
        Kind::Cluster => v1::resource::Kind::Cluster(v1::Cluster {
            name,
            labels,
            ..v1::Cluster::default()
        }),
        Kind::Endpoints => v1::resource::Kind::Endpoints(v1::Endpoints {
            name,
            labels,
            ..v1::Endpoints::default()
        }),
        _ => v1::resource::Kind::Route(v1::Route {
            name: name.clone(),
            labels,
            r#match: Some(v1::RouteMatch {
                path: Some(v1::PathMatch {
                    kind: Some(v1::path_match::Kind::Prefix(format!("/{name}"))),
                }),
                ..v1::RouteMatch::default()
            }),
            action: Some(v1::route::Action::Forward(v1::Forward {
                clusters: vec![v1::WeightedCluster { name, weight: None }],
                ..v1::Forward::default()
            })),
            ..v1::Route::default()
        }),
    };
    v1::Resource { kind: Some(kind) }
}

fn condition(step: &Step, found: Option<u64>) -> Condition {
    match (step.condition, found) {
        (Wanted::None, _) => Condition::None,
        (Wanted::Exists, _) => Condition::Exists,
        (Wanted::Absent, _) | (Wanted::Current, None) => Condition::Absent,
        (Wanted::Current, Some(version)) | (Wanted::Version(version), _) => {
            Condition::Version(version)
        }
    }
}

/// The model after the transaction and what it did; `None` if it must be refused.
fn expect(
    model: &Model,
    transaction: &Transaction,
    steps: &[Step],
    revision: u64,
) -> Option<(Model, Vec<Outcome>)> {
    let mut next = model.clone();
    let mut outcomes = Vec::new();
    for (index, (operation, step)) in transaction.operations.iter().zip(steps).enumerate() {
        let id = &operation.id;
        if transaction.operations[..index]
            .iter()
            .any(|earlier| earlier.id == *id)
        {
            return None;
        }
        let found = model.get(id).copied();
        let holds = match operation.condition {
            Condition::None => true,
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Version(version) => found.is_some_and(|(at, _)| at == version),
        };
        if !holds {
            return None;
        }
        outcomes.push(match (step.put, found) {
            (None, None) => return None,
            (None, Some(_)) => {
                next.remove(id);
                Outcome::Deleted
            }
            (Some(label), Some((_, same))) if label == same => Outcome::Unchanged,
            (Some(label), found) => {
                next.insert(id.clone(), (revision, label));
                if found.is_some() {
                    Outcome::Updated
                } else {
                    Outcome::Created
                }
            }
        });
    }
    let whole = next
        .keys()
        .all(|id| next.contains_key(&Id::new(Kind::Cluster, id.name.clone())));
    whole.then_some((next, outcomes))
}

fn check(committer: &Committer, model: &Model, revision: u64) {
    let snapshot = committer.snapshot();
    assert_eq!(snapshot.revision(), revision);
    assert_eq!(snapshot.resources().len(), model.len());
    for (id, (version, label)) in model {
        let entry = snapshot.get(id).unwrap();
        assert_eq!(entry.data.version, *version, "{id}");
        assert_eq!(
            entry.data.encoded.decode().unwrap(),
            message(id, *label),
            "{id}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_transactions_agree_with_a_map_and_survive_reopening(
        all in steps(),
        keep in 0..5_u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::new();
        let mut revision = 0;
        {
            let store = Arc::new(SledStore::open(dir.path(), None).unwrap());
            let committer = Committer::open(store, keep).unwrap();
            for steps in &all {
                let transaction = Transaction {
                    author: "me".into(),
                    operations: steps
                        .iter()
                        .map(|step| {
                            let id = id(step);
                            let found = model.get(&id).map(|(version, _)| *version);
                            Operation {
                                put: step.put.map(|label| message(&id, label)),
                                condition: condition(step, found),
                                id,
                            }
                        })
                        .collect(),
                    ..Transaction::default()
                };
                let expected = expect(&model, &transaction, steps, revision + 1);
                let dry_run = Transaction { dry_run: true, ..transaction.clone() };
                let tried = committer.commit(dry_run);
                check(&committer, &model, revision);
                let made = committer.commit(transaction);
                prop_assert_eq!(tried.is_ok(), made.is_ok());
                match (made, expected) {
                    (Ok(made), Some((next, outcomes))) => {
                        let found: Vec<Outcome> =
                            made.response.results.iter().map(|result| result.outcome).collect();
                        prop_assert_eq!(&found, &outcomes);
                        if outcomes.iter().any(|outcome| *outcome != Outcome::Unchanged) {
                            revision += 1;
                        }
                        prop_assert_eq!(made.response.revision, revision);
                        model = next;
                    }
                    (Err(CommitError::Store(error)), _) => panic!("{error}"),
                    (Err(_), None) => {}
                    (made, expected) => panic!("{made:?}\nexpected {expected:?}"),
                }
                check(&committer, &model, revision);
            }
        }
        let store = Arc::new(SledStore::open(dir.path(), None).unwrap());
        let committer = Committer::open(store, keep).unwrap();
        check(&committer, &model, revision);
        for number in 1..=revision {
            let kept = keep == 0 || number + keep > revision;
            let logged = committer.store().revision(number).unwrap();
            prop_assert_eq!(logged.is_some_and(|logged| !logged.changes.is_empty()), kept);
        }
        prop_assert!(committer.store().revision(revision + 1).unwrap().is_none());
    }
}
