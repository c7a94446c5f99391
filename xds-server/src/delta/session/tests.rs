use std::{collections::HashMap, sync::Arc};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{Node, node::UserAgentVersionType},
        service::discovery::v3::Resource,
    },
    google::rpc::Status,
};
use fleetway_api::proto::{type_url, v1};
use prost::Message as _;

use super::*;
use crate::delta::{
    BARRIER_FEATURE,
    testing::{delete, next, put},
};
use crate::snapshot::Epoch;

mod model;
mod policies;
mod secrets;

const C: Kind = Kind::Cluster;
const E: Kind = Kind::Endpoints;
const L: Kind = Kind::Listener;
const R: Kind = Kind::Route;

pub(super) fn node(barrier: bool) -> Node {
    Node {
        id: "n1".to_owned(),
        cluster: "a".to_owned(),
        user_agent_name: "proxy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion("1.2".to_owned())),
        client_features: barrier
            .then(|| BARRIER_FEATURE.to_owned())
            .into_iter()
            .collect(),
        ..Node::default()
    }
}

pub(super) fn request(url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn subscribe(url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..request(url)
    }
}

pub(super) fn ack(response: &Response) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..request(&response.type_url)
    }
}

pub(super) fn nack(response: &Response, message: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        error_detail: Some(Status {
            code: 3,
            message: message.to_owned(),
            ..Status::default()
        }),
        ..ack(response)
    }
}

/// The resources in a response.
pub(super) fn resources(response: &Response) -> Vec<Resource> {
    let frames = response.resources.iter();
    frames
        .map(|frame| Resource::decode(frame.clone()).unwrap())
        .collect()
}

/// A response in short: `Route +a +b -c`.
fn short(response: &Response) -> String {
    let mut text = response.type_url.rsplit('.').next().unwrap().to_owned();
    for resource in resources(response) {
        text += &format!(" +{}", resource.name);
    }
    for name in &response.removed {
        text += &format!(" -{name}");
    }
    text
}

/// A session opened by `node` that has sent nothing but who it is and what it wants.
fn open(snapshot: &Arc<Snapshot>, barrier: bool, urls: &[&str]) -> Session {
    let mut session = Session::new(7, snapshot.clone());
    for (index, url) in urls.iter().enumerate() {
        let request = DeltaDiscoveryRequest {
            node: (index == 0).then(|| node(barrier)),
            ..request(url)
        };
        session.on_request(request, 0).unwrap();
    }
    session
}

const EVERYTHING: [&str; 5] = [
    type_url::ROUTE,
    type_url::LISTENER,
    type_url::CLUSTER,
    type_url::ENDPOINTS,
    type_url::REVISION,
];

fn sent(session: &mut Session) -> Vec<Response> {
    std::iter::from_fn(|| session.next_response()).collect()
}

fn answer(session: &mut Session, requests: impl IntoIterator<Item = DeltaDiscoveryRequest>) {
    for request in requests {
        session.on_request(request, 1).unwrap();
    }
}

/// Accepts everything that comes; gives it in short.
fn settle(session: &mut Session) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(response) = session.next_response() {
        seen.push(short(&response));
        answer(session, [ack(&response)]);
    }
    seen
}

fn everything() -> Arc<Snapshot> {
    next(
        &Arc::default(),
        &[
            put(R, "r", &[]),
            put(L, "l", &[]),
            put(C, "c", &[]),
            put(E, "c", &[]),
        ],
    )
}

#[test]
fn a_revision_comes_in_order_and_the_barrier_closes_it() {
    let state = everything();
    let mut session = open(&state, true, &EVERYTHING[..4]);
    assert!(!session.has_response(), "not before the barrier is wanted");
    assert_eq!(session.facts().mode, Mode::Waiting);
    answer(&mut session, [request(type_url::REVISION)]);
    let responses = sent(&mut session);
    let order: Vec<String> = responses.iter().map(short).collect();
    assert_eq!(
        order,
        [
            "Cluster +c",
            "Endpoints +c",
            "Listener +l",
            "Route +r",
            "Revision +revision"
        ]
    );
    assert!(responses.iter().all(|response| response.revision == 1));
    let barrier = Resource::decode(responses[4].resources[0].clone()).unwrap();
    let barrier = v1::Revision::decode(&*barrier.resource.unwrap().value).unwrap();
    assert_eq!((barrier.number, barrier.time_ms), (1, 1));
    assert_eq!(session.facts().live_revision, None);
    answer(&mut session, responses.iter().map(ack));
    let facts = session.facts();
    assert_eq!((facts.live_revision, facts.in_flight), (Some(1), None));
    assert_eq!(facts.types.len(), 5);
}

#[test]
fn a_revision_that_changes_nothing_for_the_node_is_its_barrier_alone() {
    let state = everything();
    let mut session = open(&state, true, &EVERYTHING);
    settle(&mut session);
    session.on_snapshot(next(&state, &[put(R, "far", &["b"])]), 2);
    assert_eq!(settle(&mut session), ["Revision +revision"]);
    assert_eq!(session.facts().live_revision, Some(2));
}

#[test]
fn revisions_committed_during_a_push_follow_as_their_sum() {
    let mut state = everything();
    let mut session = open(&state, true, &EVERYTHING);
    let first = sent(&mut session);
    for round in 0..5 {
        let brief = if round % 2 == 0 {
            put(R, "brief", &[])
        } else {
            delete(R, "brief")
        };
        let more = [put(R, "r", &[]), put(C, &format!("c{round}"), &[]), brief];
        state = next(&state, &more);
        session.on_snapshot(state.clone(), 2);
    }
    state = next(&state, &[delete(R, "brief")]);
    session.on_snapshot(state.clone(), 2);
    assert!(!session.has_response());
    answer(&mut session, first.iter().map(ack));
    assert_eq!(
        settle(&mut session),
        [
            "Cluster +c0 +c1 +c2 +c3 +c4",
            "Route +r",
            "Revision +revision"
        ]
    );
    assert_eq!(session.facts().live_revision, Some(state.revision()));
}

#[test]
fn a_refused_revision_stays_refused_until_a_newer_one_heals_it() {
    let good = everything();
    let mut session = open(&good, true, &EVERYTHING);
    settle(&mut session);
    let bad = next(&good, &[put(L, "taken", &[]), put(C, "new", &[])]);
    session.on_snapshot(bad.clone(), 2);
    let responses = sent(&mut session);
    // The first is refused early, the others and the barrier only later.
    answer(&mut session, [nack(&responses[0], "port taken")]);
    assert!(session.facts().refusal.is_none(), "the push is not over");
    answer(
        &mut session,
        responses[1..].iter().map(|r| nack(r, "port taken")),
    );
    let facts = session.facts();
    assert_eq!(facts.live_revision, Some(1));
    let refusal = facts.refusal.unwrap();
    assert_eq!((refusal.revision, &*refusal.message), (2, "port taken"));
    session.on_snapshot(bad.clone(), 3);
    assert!(!session.has_response(), "not again unasked");
    session.on_snapshot(next(&bad, &[delete(L, "taken"), put(R, "x", &[])]), 4);
    assert_eq!(
        settle(&mut session),
        ["Cluster +new", "Route +x", "Revision +revision"]
    );
    let facts = session.facts();
    assert_eq!((facts.live_revision, facts.refusal), (Some(3), None));
}

#[test]
fn one_refused_response_refuses_the_push_even_if_the_barrier_is_accepted() {
    let good = everything();
    let mut session = open(&good, true, &EVERYTHING);
    settle(&mut session);
    let bad = next(&good, &[put(L, "l2", &[])]);
    session.on_snapshot(bad.clone(), 2);
    let responses = sent(&mut session);
    answer(&mut session, [nack(&responses[0], ""), ack(&responses[1])]);
    let facts = session.facts();
    assert_eq!(facts.refusal.unwrap().message, "it gave no reason");
    assert_eq!(facts.live_revision, Some(1));
    // What the client asks for is answered, even so.
    answer(&mut session, [subscribe(type_url::ROUTE, &["r"])]);
    assert_eq!(
        settle(&mut session),
        ["Listener +l2", "Route +r", "Revision +revision"]
    );
}

#[test]
fn a_client_that_comes_back_is_sent_what_changed_alone() {
    let state = next(&everything(), &[put(R, "s", &[])]);
    let back = |versions: &[(&str, &str)]| {
        let mut session = open(&state, true, &EVERYTHING[1..2]);
        for (url, names) in [
            (type_url::CLUSTER, vec![("c", "1")]),
            (type_url::ENDPOINTS, vec![("c", "1")]),
            (type_url::ROUTE, versions.to_vec()),
            (type_url::REVISION, vec![("revision", "1@0")]),
        ] {
            let names = names.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            let request = DeltaDiscoveryRequest {
                initial_resource_versions: names.collect::<HashMap<_, _>>(),
                ..request(url)
            };
            answer(&mut session, [request]);
        }
        assert_eq!(session.facts().live_revision, Some(1));
        settle(&mut session)
    };
    let listener = "Listener +l";
    let barrier = "Revision +revision";
    assert_eq!(back(&[("r", "1"), ("s", "2")]), [listener, barrier]);
    assert_eq!(back(&[("r", "1")]), [listener, "Route +s", barrier]);
    assert_eq!(
        back(&[("r", "1"), ("s", "1"), ("t", "1")]),
        [listener, "Route +s -t", barrier]
    );
}

#[test]
fn versions_of_another_history_are_not_believed_though_the_numbers_are_equal() {
    let state =
        Snapshot::default().with_history([Epoch { first: 1, id: 0xa }].into_iter().collect());
    let state = next(
        &next(&Arc::new(state), &[put(R, "r", &[])]),
        &[put(R, "s", &[])],
    );
    let back = |position: &str| {
        let mut session = open(&state, true, &EVERYTHING[1..2]);
        for (url, names) in [
            (type_url::ROUTE, vec![("r", "1"), ("s", "2"), ("t", "2")]),
            (type_url::REVISION, vec![("revision", position)]),
        ] {
            let names = names.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            let request = DeltaDiscoveryRequest {
                initial_resource_versions: names.collect(),
                ..request(url)
            };
            answer(&mut session, [request]);
        }
        settle(&mut session)
    };
    let barrier = "Revision +revision";
    assert_eq!(back("2@a"), ["Route -t", barrier]);
    for other in ["2@b", "3@a", "1@0", "2", ""] {
        assert_eq!(back(other), ["Route +r +s -t", barrier], "{other}");
    }
}

#[test]
fn versions_named_after_the_barrier_are_believed_no_more_than_those_before_it() {
    let state =
        Snapshot::default().with_history([Epoch { first: 1, id: 0xa }].into_iter().collect());
    let state = next(&Arc::new(state), &[put(R, "r", &[]), put(R, "s", &[])]);
    let late = |announced: bool, position: Option<&str>, names: &[&str]| {
        let mut session = open(&state, announced, &EVERYTHING[1..2]);
        let versions = position.map(|position| ("revision".to_owned(), position.to_owned()));
        let barrier = DeltaDiscoveryRequest {
            initial_resource_versions: versions.into_iter().collect(),
            ..request(type_url::REVISION)
        };
        answer(&mut session, [barrier]);
        settle(&mut session);
        let versions = ["r", "t"].map(|name| (name.to_owned(), "1".to_owned()));
        let routes = DeltaDiscoveryRequest {
            initial_resource_versions: versions.into(),
            ..subscribe(type_url::ROUTE, names)
        };
        answer(&mut session, [routes]);
        settle(&mut session)
    };
    let barrier = "Revision +revision";
    for announced in [true, false] {
        assert_eq!(
            late(announced, Some("1@a"), &[]),
            ["Route +s -t", barrier],
            "{announced}"
        );
        for other in [None, Some("1@b"), Some("2@a"), Some("")] {
            let seen = late(announced, other, &[]);
            assert_eq!(seen, ["Route +r +s -t", barrier], "{announced} {other:?}");
            let seen = late(announced, other, &["r", "t"]);
            assert_eq!(seen, ["Route +r -t", barrier], "{announced} {other:?}");
        }
    }
}

#[test]
fn an_empty_store_takes_nothing_from_a_client_of_another_one() {
    let empty = Arc::new(Snapshot::default());
    let mut session = open(&empty, true, &EVERYTHING[1..4]);
    let request = |position: &str| DeltaDiscoveryRequest {
        initial_resource_versions: [("revision".to_owned(), position.to_owned())].into(),
        ..request(type_url::REVISION)
    };
    answer(&mut session, [request("41@a")]);
    assert_eq!(settle(&mut session), [""; 0]);
    session.on_snapshot(next(&empty, &[put(L, "l", &[])]), 1);
    assert_eq!(settle(&mut session), ["Listener +l", "Revision +revision"]);

    let mut session = open(&empty, true, &EVERYTHING[1..4]);
    answer(&mut session, [request("0@0")]);
    assert_eq!(settle(&mut session), ["Revision +revision"]);
}

#[test]
fn plain_clients_are_served_make_before_break() {
    let state = everything();
    let mut session = open(&state, false, &EVERYTHING[..4]);
    settle(&mut session);
    assert_eq!(session.facts().mode, Mode::Plain);
    let edits = [
        put(R, "r2", &[]),
        delete(R, "r"),
        put(L, "l2", &[]),
        delete(L, "l"),
        put(C, "d", &[]),
        delete(C, "c"),
        put(E, "d", &[]),
        delete(E, "c"),
    ];
    session.on_snapshot(next(&state, &edits), 2);
    let first = session.next_response().unwrap();
    assert!(!session.has_response(), "each waits for its answer");
    assert_eq!(short(&first), "Cluster +d");
    answer(&mut session, [ack(&first)]);
    assert_eq!(
        settle(&mut session),
        [
            "Endpoints +d",
            "Listener +l2 -l",
            "Route +r2 -r",
            "Endpoints -c",
            "Cluster -c"
        ]
    );
    assert_eq!(session.facts().live_revision, Some(2));
}

#[test]
fn a_refusal_ends_a_plain_push_and_keeps_what_was_accepted() {
    let state = everything();
    let mut session = open(&state, false, &EVERYTHING[..4]);
    settle(&mut session);
    let bad = next(
        &state,
        &[
            put(C, "d", &[]),
            put(L, "l", &[]),
            put(R, "x", &[]),
            delete(E, "c"),
        ],
    );
    session.on_snapshot(bad.clone(), 2);
    let cluster = session.next_response().unwrap();
    answer(&mut session, [ack(&cluster)]);
    let listener = session.next_response().unwrap();
    answer(&mut session, [nack(&listener, "no")]);
    assert!(!session.has_response());
    let facts = session.facts();
    assert_eq!(facts.live_revision, Some(1));
    let acknowledged: Vec<_> = facts.types.iter().map(|t| t.acknowledged).collect();
    assert_eq!(acknowledged, [Some(2), Some(1), Some(1), Some(1)]);
    session.on_snapshot(next(&bad, &[delete(R, "x"), put(L, "l3", &[])]), 3);
    assert_eq!(
        settle(&mut session),
        ["Listener +l +l3", "Route -x", "Endpoints -c"]
    );
    assert_eq!(session.facts().live_revision, Some(3));
    assert_eq!(session.facts().refusal, None);
}

#[test]
fn a_barrier_alone_says_that_there_is_nothing() {
    let mut session = open(&Arc::default(), true, &EVERYTHING);
    assert_eq!(settle(&mut session), ["Revision +revision"]);
    assert_eq!(session.facts().live_revision, Some(0));
}

#[test]
fn a_plain_client_learns_that_there_is_nothing() {
    let mut session = open(&Arc::default(), false, &[type_url::CLUSTER]);
    assert_eq!(settle(&mut session), ["Cluster"]);
    answer(&mut session, [subscribe(type_url::ROUTE, &["none"])]);
    assert_eq!(settle(&mut session), ["Route -none"]);
    assert_eq!(session.facts().live_revision, Some(0));
    session.on_snapshot(next(&Arc::default(), &[put(L, "l", &[])]), 2);
    assert_eq!(
        session.facts().live_revision,
        Some(1),
        "nothing to send is current"
    );
}

#[test]
fn a_plain_client_may_take_up_the_barrier() {
    let state = everything();
    let mut session = open(&state, false, &[type_url::CLUSTER]);
    settle(&mut session);
    answer(&mut session, [request(type_url::REVISION)]);
    assert_eq!(settle(&mut session), ["Revision +revision"]);
    answer(&mut session, [subscribe(type_url::REVISION, &["other"])]);
    assert_eq!(settle(&mut session), ["Revision +revision -other"]);
}

#[test]
fn large_sets_come_in_several_responses() {
    let names: Vec<String> = (0..12_000).map(|n| format!("route-{n:05}")).collect();
    let edits: Vec<_> = names.iter().map(|name| put(R, name, &[])).collect();
    let state = next(&Arc::default(), &edits);
    for barrier in [true, false] {
        let types = [type_url::ROUTE, type_url::REVISION];
        let mut session = open(&state, barrier, &types[..1 + usize::from(barrier)]);
        let mut received = Vec::new();
        let mut responses = 0;
        while let Some(response) = session.next_response() {
            let size: usize = response.resources.iter().map(bytes::Bytes::len).sum();
            assert!(size <= crate::delta::push::RESPONSE_SIZE);
            if response.type_url == type_url::ROUTE {
                received.extend(
                    resources(&response)
                        .into_iter()
                        .map(|resource| resource.name),
                );
                responses += 1;
            }
            answer(&mut session, [ack(&response)]);
        }
        assert!(responses > 1);
        assert_eq!(received, names);
        assert_eq!(session.facts().live_revision, Some(1));
    }
}

#[test]
fn a_first_request_says_who_it_comes_from() {
    let mut session = Session::new(1, Arc::default());
    let close = session.on_request(request(type_url::ROUTE), 0).unwrap_err();
    let status = tonic::Status::from(close);
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().starts_with("node.id is missing"));
}

#[test]
fn answers_to_nothing_are_counted_and_change_nothing() {
    let state = everything();
    let mut session = open(&state, true, &EVERYTHING);
    let responses = sent(&mut session);
    for nonce in ["", "x", "7-99", "8-1", "7-1-1"] {
        let mut stale = nack(&responses[0], "stale");
        stale.response_nonce = nonce.to_owned();
        answer(&mut session, [stale]);
    }
    let mut wrong_type = ack(&responses[0]);
    wrong_type.type_url = type_url::ROUTE.to_owned();
    answer(&mut session, [wrong_type]);
    answer(&mut session, responses.iter().map(ack));
    answer(&mut session, [ack(&responses[0])]);
    let facts = session.facts();
    assert_eq!(facts.tally.protocol_errors, 7);
    assert_eq!((facts.tally.acks, facts.tally.nacks), (5, 0));
    assert_eq!((facts.live_revision, facts.refusal), (Some(1), None));
}

#[test]
fn a_stale_answer_still_changes_the_subscription() {
    let state = everything();
    let mut session = open(&state, false, &[type_url::CLUSTER]);
    settle(&mut session);
    let mut stale = subscribe(type_url::ROUTE, &["r"]);
    stale.response_nonce = "gone".to_owned();
    answer(&mut session, [stale]);
    assert_eq!(settle(&mut session), ["Route +r"]);
    assert_eq!(session.facts().tally.protocol_errors, 1);
}

#[test]
fn an_unknown_type_is_answered_with_nothing() {
    let state = everything();
    let mut session = open(&state, false, &["type.example/A"]);
    assert_eq!(settle(&mut session), ["example/A"]);
    answer(&mut session, [subscribe("type.example/B", &["x"])]);
    assert_eq!(settle(&mut session), ["example/B -x"]);
    let facts = session.facts();
    assert_eq!(facts.tally.protocol_errors, 2);
    assert_eq!(facts.types.len(), 2);
    for n in 0..50 {
        answer(&mut session, [request(&format!("type.example/{n}"))]);
    }
    assert_eq!(session.facts().types.len(), 16);
    answer(&mut session, [request("")]);
    answer(&mut session, [request(type_url::ROUTE)]);
    assert!(settle(&mut session).contains(&"Route +r".to_owned()));
}

#[test]
fn subscriptions_are_bounded() {
    let mut session = open(&Arc::default(), false, &[type_url::CLUSTER]);
    let long = "x".repeat(2000);
    let close = session.on_request(subscribe(type_url::ROUTE, &[&long]), 0);
    assert!(matches!(close, Err(Close::TooMuch(_))));
    let mut many = request(type_url::ROUTE);
    many.resource_names_subscribe = (0..100_001).map(|n| n.to_string()).collect();
    let close = session.on_request(many, 0);
    assert!(matches!(close, Err(Close::TooMuch(_))));
}
