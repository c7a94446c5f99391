use super::*;
use crate::delta::testing::{Edit, delete, next, put};

const R: Kind = Kind::Route;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What is sent to fleet `a` with a subscription that has had everything it was owed.
fn sent(subscribe: &[&str], base: &Snapshot, new: &Snapshot) -> (Vec<String>, Vec<String>) {
    let mut subscription = Subscription::first(&strings(subscribe), &[]);
    subscription.take_owed();
    told(&subscription, base, &Owed::default(), new)
}

fn told(
    subscription: &Subscription,
    base: &Snapshot,
    owed: &Owed,
    new: &Snapshot,
) -> (Vec<String>, Vec<String>) {
    let view = View {
        kind: R,
        fleet: "a",
        subscription,
    };
    let delta = diff(&view, base, owed, new);
    let upserts = delta.upserts.iter().map(|e| e.resource.name().to_string());
    let gone = delta.removed.iter().chain(&delta.absent);
    (upserts.collect(), gone.map(ToString::to_string).collect())
}

fn state(edits: &[&[Edit]]) -> Vec<Arc<Snapshot>> {
    let mut states = vec![Arc::new(Snapshot::default())];
    for edits in edits {
        states.push(next(states.last().unwrap(), edits));
    }
    states
}

/// The state without its change log.
fn forgotten(snapshot: &Snapshot) -> Snapshot {
    Snapshot::restored(
        snapshot.revision(),
        snapshot.time_ms(),
        snapshot.resources().iter().cloned().collect(),
    )
    .unwrap()
}

#[test]
fn only_what_changed_is_sent_with_and_without_the_log() {
    let states = state(&[
        &[
            put(R, "kept", &[]),
            put(R, "changed", &[]),
            put(R, "gone", &[]),
        ],
        &[put(R, "changed", &[]), put(R, "new", &[])],
        &[delete(R, "gone"), put(R, "brief", &[])],
        &[delete(R, "brief"), put(Kind::Cluster, "other", &[])],
    ]);
    let expected = (strings(&["changed", "new"]), strings(&["gone"]));
    assert_eq!(sent(&["*"], &states[1], &states[4]), expected);
    assert_eq!(sent(&["*"], &states[1], &forgotten(&states[4])), expected);
    assert_eq!(sent(&["new"], &states[1], &states[4]).0, ["new"]);
    assert_eq!(sent(&["kept"], &states[1], &states[4]), (vec![], vec![]));
}

#[test]
fn coming_into_the_fleet_is_an_upsert_and_leaving_it_a_removal() {
    let states = state(&[
        &[
            put(R, "leaves", &["a"]),
            put(R, "comes", &["b"]),
            put(R, "far", &["b"]),
        ],
        &[
            put(R, "leaves", &["b"]),
            put(R, "comes", &["a", "b"]),
            put(R, "far", &["b"]),
        ],
        &[delete(R, "far")],
    ]);
    let expected = (strings(&["comes"]), strings(&["leaves"]));
    assert_eq!(sent(&["*"], &states[1], &states[3]), expected);
    assert_eq!(sent(&["*"], &states[1], &forgotten(&states[3])), expected);
    assert_eq!(sent(&["*"], &states[2], &states[3]), (vec![], vec![]));
}

#[test]
fn what_is_owed_is_sent_once_and_in_order() {
    let states = state(&[
        &[put(R, "b", &[]), put(R, "c", &[])],
        &[put(R, "c", &[]), put(R, "d", &[])],
    ]);
    let mut subscription = Subscription::first(&strings(&["b", "c", "nothing", "d"]), &[]);
    let owed = subscription.take_owed();
    assert_eq!(
        told(&subscription, &states[1], &owed, &states[2]),
        (strings(&["b", "c", "d"]), strings(&["nothing"]))
    );
}

#[test]
fn a_client_that_comes_back_is_owed_what_it_does_not_have() {
    let states = state(&[
        &[
            put(R, "same", &[]),
            put(R, "old", &[]),
            put(R, "gone", &[]),
            put(R, "far", &["b"]),
        ],
        &[put(R, "old", &[]), put(R, "new", &[]), delete(R, "gone")],
    ]);
    let versions: HashMap<String, String> = [
        ("same", "1"),
        ("old", "1"),
        ("gone", "1"),
        ("far", "1"),
        ("foreign", "v7"),
    ]
    .map(|(name, version)| (name.to_owned(), version.to_owned()))
    .into();
    let resumed = |subscribe: &[&str]| {
        let subscription = Subscription::first(&strings(subscribe), &[]);
        let view = View {
            kind: R,
            fleet: "a",
            subscription: &subscription,
        };
        let owed = resume(&view, &versions, &states[2]);
        told(&subscription, &states[2], &owed, &states[2])
    };
    assert_eq!(
        resumed(&["*"]),
        (
            strings(&["new", "old"]),
            strings(&["far", "foreign", "gone"])
        )
    );
    assert_eq!(
        resumed(&["same", "gone", "never"]),
        (vec![], strings(&["gone", "never"]))
    );
}

#[test]
fn a_foreign_version_of_a_known_name_is_sent_again() {
    let states = state(&[&[put(R, "x", &[])]]);
    for version in ["", "2", "abc", "18446744073709551616"] {
        let versions = [("x".to_owned(), version.to_owned())].into();
        let subscription = Subscription::first(&[], &[]);
        let view = View {
            kind: R,
            fleet: "a",
            subscription: &subscription,
        };
        let owed = resume(&view, &versions, &states[1]);
        assert_eq!(owed.names.len(), 1, "{version}");
    }
}
