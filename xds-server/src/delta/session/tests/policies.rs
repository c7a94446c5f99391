//! Policies and their components go where a route or a listener needs them.

use super::*;
use crate::delta::testing::{attaching, component_name, policy};

const P: Kind = Kind::Policy;
const W: Kind = Kind::Component;

fn opened(snapshot: &Arc<Snapshot>, barrier: bool) -> Session {
    let [one, two, three, four, five] = EVERYTHING;
    let urls = [
        type_url::COMPONENT,
        type_url::POLICY,
        one,
        two,
        three,
        four,
        five,
    ];
    open(
        snapshot,
        barrier,
        if barrier { &urls[..] } else { &urls[..6] },
    )
}

/// The state with components and policies that say `one` and `two`.
fn two() -> Arc<Snapshot> {
    let edits = [
        put(W, "one", &[]),
        put(W, "two", &[]),
        put(P, "one", &[]),
        put(P, "two", &[]),
    ];
    next(&Arc::default(), &edits)
}

#[test]
fn a_policy_brings_its_component_and_both_go_with_what_named_the_policy() {
    let state = two();
    let (one, two) = (component_name("one"), component_name("two"));
    let mut session = opened(&state, true);
    assert_eq!(settle(&mut session), ["Revision +revision"]);
    let attached = next(&state, &[attaching("r", &[], &["one"])]);
    session.on_snapshot(attached.clone(), 1);
    assert_eq!(
        settle(&mut session),
        [
            format!("Component +{one}"),
            "Policy +one".to_owned(),
            "Route +r".to_owned(),
            "Revision +revision".to_owned()
        ]
    );
    // A second user brings nothing anew, and another fleet's nothing at all.
    let more = next(
        &attached,
        &[
            attaching("s", &[], &["one"]),
            attaching("o", &["other"], &["two"]),
        ],
    );
    session.on_snapshot(more.clone(), 1);
    assert_eq!(settle(&mut session)[..1], ["Route +s"]);
    let other = next(&more, &[attaching("r", &[], &["two"])]);
    session.on_snapshot(other.clone(), 1);
    assert_eq!(
        settle(&mut session)[..3],
        [
            format!("Component +{two}"),
            "Policy +two".to_owned(),
            "Route +r".to_owned()
        ]
    );
    let none = next(
        &other,
        &[attaching("r", &[], &[]), attaching("s", &[], &[])],
    );
    session.on_snapshot(none, 1);
    let gone = settle(&mut session);
    let mut names = [one.to_string(), two.to_string()];
    names.sort();
    assert_eq!(gone[0], format!("Component -{} -{}", names[0], names[1]));
    assert_eq!(gone[1], "Policy -one -two");
}

#[test]
fn a_policy_that_takes_another_component_brings_that_and_drops_the_other() {
    let state = next(&two(), &[attaching("r", &[], &["one"])]);
    let mut session = opened(&state, false);
    let (one, two) = (component_name("one"), component_name("two"));
    assert_eq!(settle(&mut session)[0], format!("Component +{one}"));
    let edits = [policy("one", &[], "two")];
    let changed = next(&state, &edits);
    session.on_snapshot(changed, 1);
    assert_eq!(
        settle(&mut session),
        [
            format!("Component +{two}"),
            "Policy +one".to_owned(),
            format!("Component -{one}")
        ]
    );
}

#[test]
fn each_component_travels_in_a_response_of_its_own() {
    let state = next(&two(), &[attaching("r", &[], &["one", "two"])]);
    let mut session = opened(&state, true);
    let sent = sent(&mut session);
    let of = |url: &str| {
        sent.iter()
            .filter(|response| response.type_url == url)
            .count()
    };
    assert_eq!((of(type_url::COMPONENT), of(type_url::POLICY)), (2, 1));
}

#[test]
fn a_component_a_client_comes_back_with_is_not_sent_again() {
    let state = next(&two(), &[attaching("r", &[], &["one"])]);
    let mut session = Session::new(7, state.clone());
    let version = state.get(&put(W, "one", &[]).id()).unwrap().data.version;
    let versions = [(component_name("one").to_string(), version.to_string())];
    let first = DeltaDiscoveryRequest {
        node: Some(node(false)),
        initial_resource_versions: versions.into(),
        ..request(type_url::COMPONENT)
    };
    session.on_request(first, 0).unwrap();
    assert!(!settle(&mut session).iter().any(|sent| sent.contains('+')));
}

#[test]
fn what_a_node_says_of_its_failing_policies_is_known_and_asks_for_nothing() {
    use envoy_types::pb::google::protobuf::{Struct, Value, value};
    use fleetway_api::rest::FailingPolicy;

    let telling = |text: &str| {
        let told = Value {
            kind: Some(value::Kind::StringValue(text.to_owned())),
        };
        let metadata = Struct {
            fields: [(FailingPolicy::METADATA.to_owned(), told)].into(),
        };
        DeltaDiscoveryRequest {
            node: Some(Node {
                metadata: Some(metadata),
                ..node(true)
            }),
            ..request(type_url::REVISION)
        }
    };
    let mut session = opened(&two(), true);
    settle(&mut session);
    let one =
        r#"{"policy":"p","since":"2026-01-01T00:00:00Z","cause":"trap","message":"it trapped"}"#;
    session.on_request(telling(&format!("[{one}]")), 1).unwrap();
    assert_eq!(session.facts().failing[0].policy, "p");
    assert!(settle(&mut session).is_empty());
    // What cannot be read changes nothing but the count of faults.
    let before = session.facts().tally.protocol_errors;
    session.on_request(telling("p"), 2).unwrap();
    assert_eq!(session.facts().failing.len(), 1);
    assert_eq!(session.facts().tally.protocol_errors, before + 1);
    let many = vec![one; FailingPolicy::MOST + 1].join(",");
    session
        .on_request(telling(&format!("[{many}]")), 3)
        .unwrap();
    assert_eq!(session.facts().failing.len(), FailingPolicy::MOST);
    let fine = DeltaDiscoveryRequest {
        node: Some(node(true)),
        ..request(type_url::REVISION)
    };
    session.on_request(fine, 4).unwrap();
    assert!(session.facts().failing.is_empty());
}
