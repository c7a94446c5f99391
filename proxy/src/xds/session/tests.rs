//! Recorded transcripts, one line for each thing said or done.

use std::collections::{BTreeMap, VecDeque};

use envoy_types::pb::{
    envoy::service::discovery::v3::Resource as WireResource, google::protobuf::Any,
};

use super::*;
use crate::xds::testing::{barrier, cluster, contents, held, response, route, wire};

mod simulation;

/// A session, and what it said and did.
struct Talk {
    session: Session,
    applying: VecDeque<Push>,
    said: Vec<String>,
}

impl Talk {
    fn start(held: Held) -> Self {
        let node = Node {
            id: "proxy-1".into(),
            fleet: "edge".into(),
        };
        let (session, requests) = Session::start(&node, &[], held);
        Self {
            session,
            applying: VecDeque::new(),
            said: requests.iter().map(print).collect(),
        }
    }

    fn hear(&mut self, response: DeltaDiscoveryResponse) {
        let actions = self.session.received(response).unwrap();
        self.take(actions);
    }

    /// The push at hand is built and the workers answer with `outcome`.
    fn apply(&mut self, outcome: Result<(), FieldError>) {
        let push = self.applying.pop_front().expect("a push is being applied");
        let outcome = push
            .build()
            .and_then(|candidate| outcome.map(|()| candidate).map_err(|fault| vec![fault]));
        let line = match &outcome {
            Ok(candidate) => {
                let changed: Vec<_> = candidate.changed.iter().map(ToString::to_string).collect();
                format!(
                    "in force: revision {} [{}]",
                    candidate.held.revision().number,
                    changed.join(" ")
                )
            }
            Err(_) => "refused".to_owned(),
        };
        self.said.push(line);
        let outcome = outcome.map(|candidate| candidate.held);
        let actions = match &outcome {
            Ok(held) => self.session.applied(Ok(held.clone())),
            Err(faults) => self.session.applied(Err(faults)),
        };
        self.take(actions);
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(request) => self.said.push(print(&request)),
                Action::Apply(push) => self.applying.push_back(*push),
            }
        }
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}

fn print(request: &DeltaDiscoveryRequest) -> String {
    let of = request.type_url.rsplit('.').next().unwrap_or_default();
    if !request.resource_names_subscribe.is_empty() {
        let versions: BTreeMap<_, _> = request.initial_resource_versions.iter().collect();
        return format!(
            "subscribe {of} {:?} {versions:?}",
            request.resource_names_subscribe
        );
    }
    match &request.error_detail {
        None => format!("ACK {of} {}", request.response_nonce),
        Some(status) => format!(
            "NACK {of} {} {}: {}",
            request.response_nonce, status.code, status.message
        ),
    }
}

/// A session of an empty proxy that has said its subscriptions.
fn begun() -> Talk {
    let mut talk = Talk::start(Held::default());
    talk.said();
    talk
}

#[test]
fn a_stream_begins_with_the_subscriptions_and_what_is_held() {
    let node = Node {
        id: "proxy-1".into(),
        fleet: "edge".into(),
    };
    let (_, requests) = Session::start(&node, &[], held(2));
    let said: Vec<_> = requests.iter().map(print).collect();
    assert_eq!(
        said,
        [
            r#"subscribe Secret ["*"] {}"#,
            r#"subscribe Component ["*"] {}"#,
            r#"subscribe Policy ["*"] {}"#,
            r#"subscribe Cluster ["*"] {"c": "7"}"#,
            r#"subscribe Endpoints ["*"] {}"#,
            r#"subscribe Listener ["*"] {}"#,
            r#"subscribe Route ["*"] {"r0": "7", "r1": "7"}"#,
            r#"subscribe Revision ["*"] {"revision": "7@5a"}"#,
        ]
    );
    let node = requests[0].node.clone().unwrap();
    assert_eq!(
        (node.id.as_str(), node.cluster.as_str()),
        ("proxy-1", "edge")
    );
    assert_eq!(node.user_agent_name, "fleetway-proxy");
    assert_eq!(node.client_features, [BARRIER_FEATURE]);
    assert!(requests[1..].iter().all(|request| request.node.is_none()));
}

#[test]
fn a_push_takes_effect_at_the_barrier_and_is_acknowledged_after_it() {
    let mut talk = begun();
    talk.hear(response(
        Kind::Cluster,
        3,
        "1",
        vec![cluster("2", "c")],
        &[],
    ));
    talk.hear(response(
        Kind::Route,
        3,
        "2",
        vec![route("3", "r", "c")],
        &[],
    ));
    assert!(talk.applying.is_empty() && talk.said.is_empty());
    talk.hear(barrier(3, "3"));
    assert!(
        talk.said.is_empty(),
        "nothing is said before it is in force"
    );
    talk.apply(Ok(()));
    assert_eq!(
        talk.said(),
        [
            "in force: revision 3 [clusters/c routes/r]",
            "ACK Cluster 1",
            "ACK Route 2",
            "ACK Revision 3",
        ]
    );
}

#[test]
fn a_barrier_alone_is_a_revision_of_its_own() {
    let mut talk = Talk::start(held(1));
    talk.said();
    talk.hear(barrier(8, "1"));
    talk.apply(Ok(()));
    assert_eq!(talk.said(), ["in force: revision 8 []", "ACK Revision 1"]);
}

#[test]
fn one_fault_refuses_all_of_the_push_and_what_was_in_force_stays() {
    let mut talk = Talk::start(held(1));
    talk.said();
    let before = contents(&talk.session.held);
    talk.hear(response(
        Kind::Cluster,
        8,
        "1",
        vec![cluster("8", "new")],
        &[],
    ));
    talk.hear(response(
        Kind::Route,
        8,
        "2",
        vec![route("8", "x", "gone")],
        &[],
    ));
    talk.hear(barrier(8, "3"));
    talk.apply(Ok(()));
    let fault = "3: routes/x: forward.clusters[0].name: there is no clusters/gone: add it too, or refer to one that is there";
    assert_eq!(
        talk.said(),
        [
            "refused".to_owned(),
            format!("NACK Cluster 1 {fault}"),
            format!("NACK Route 2 {fault}"),
            format!("NACK Revision 3 {fault}"),
        ]
    );
    assert_eq!(contents(&talk.session.held), before);

    // Nothing staged survives: the next push stands on what is in force.
    talk.hear(response(
        Kind::Route,
        9,
        "4",
        vec![route("9", "x", "new")],
        &[],
    ));
    talk.hear(barrier(9, "5"));
    talk.apply(Ok(()));
    assert!(talk.said()[1].contains("there is no clusters/new"));
}

#[test]
fn faults_of_resources_and_of_the_set_they_form_are_told_together() {
    let mut talk = Talk::start(held(1));
    talk.said();
    let bad = wire("8", "{kind: Cluster, name: bad, connect_timeout: 0s}");
    talk.hear(response(Kind::Cluster, 8, "1", vec![bad], &[]));
    let routes = vec![route("8", "x", "bad"), route("8", "y", "gone")];
    talk.hear(response(Kind::Route, 8, "2", routes, &[]));
    talk.hear(barrier(8, "3"));
    talk.apply(Ok(()));
    let said = talk.said().remove(1);
    assert!(said.contains("clusters/bad: connect_timeout: "), "{said}");
    assert!(said.contains("there is no clusters/gone"), "{said}");
    assert!(!said.contains("there is no clusters/bad"), "{said}");
}

#[test]
fn what_the_workers_refuse_is_refused_with_their_words() {
    let mut talk = begun();
    let listener = wire(
        "1",
        "{kind: Listener, name: web, address: \"127.0.0.1:80\", http: {}}",
    );
    talk.hear(response(Kind::Listener, 1, "1", vec![listener], &[]));
    talk.hear(barrier(1, "2"));
    talk.apply(Err(FieldError::new(
        "listeners/web",
        "address",
        "is in use",
    )));
    assert_eq!(
        talk.said(),
        [
            "refused",
            "NACK Listener 1 3: listeners/web: address: is in use",
            "NACK Revision 2 3: listeners/web: address: is in use",
        ]
    );
    assert!(talk.session.held.resources().is_empty());
}

fn wired(name: &str, type_url: &str, value: &[u8]) -> WireResource {
    WireResource {
        name: name.into(),
        version: "1".into(),
        resource: Some(Any {
            type_url: type_url.into(),
            value: value.into(),
        }),
        ..WireResource::default()
    }
}

#[test]
fn every_fault_is_told_with_its_resource_and_field() {
    let mut renamed = cluster("1", "a");
    renamed.name = "b".into();
    let resources = vec![
        wired("unreadable", type_url::CLUSTER, &[0xff]),
        wired("empty", type_url::CLUSTER, &[]),
        wired("foreign", type_url::ROUTE, &[]),
        WireResource {
            name: "hollow".into(),
            ..WireResource::default()
        },
        renamed,
        cluster("1", "twice"),
        cluster("1", "twice"),
        wire(
            "1",
            "{kind: Cluster, name: bad, endpoints: [{address: nowhere}]}",
        ),
    ];
    let unknown = DeltaDiscoveryResponse {
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(),
        system_version_info: "1".into(),
        ..DeltaDiscoveryResponse::default()
    };
    let mut talk = begun();
    talk.hear(response(Kind::Cluster, 1, "1", resources, &["twice"]));
    talk.hear(unknown);
    talk.hear(barrier(1, "3"));
    talk.apply(Ok(()));
    let said = talk.said().remove(1);
    for part in [
        "clusters/unreadable: cannot be decoded: ",
        "clusters/empty: name: is missing",
        "clusters/foreign: its type is \"type.googleapis.com/fleetway.v1.Route\"",
        "clusters/hollow: carries no message",
        "clusters/b: name: is \"a\" in the message and \"b\" on the stream",
        "clusters/twice: is in the response more than once; clusters/bad",
        "clusters/bad: endpoints[0].address: ",
        "\"type.googleapis.com/envoy.config.cluster.v3.Cluster\" is a type this proxy does not know",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_response_of_another_revision_than_its_barrier_is_a_fault() {
    let mut talk = begun();
    talk.hear(response(
        Kind::Cluster,
        4,
        "1",
        vec![cluster("4", "c")],
        &[],
    ));
    talk.hear(barrier(5, "2"));
    talk.apply(Ok(()));
    assert!(talk.said()[1].contains("revision: number: is 5, but the response"));
}

#[test]
fn removals_take_effect_and_those_of_nothing_are_ignored() {
    let mut talk = Talk::start(held(2));
    talk.said();
    talk.hear(response(
        Kind::Route,
        8,
        "1",
        vec![],
        &["r0", "never", "NO NAME"],
    ));
    talk.hear(barrier(8, "2"));
    talk.apply(Ok(()));
    assert_eq!(talk.said()[0], "in force: revision 8 [routes/r0]");
}

#[test]
fn the_later_response_of_a_push_has_the_last_word() {
    let mut talk = Talk::start(held(1));
    talk.said();
    talk.hear(response(
        Kind::Cluster,
        8,
        "1",
        vec![cluster("8", "d")],
        &[],
    ));
    talk.hear(response(Kind::Route, 8, "2", vec![], &["r0"]));
    talk.hear(response(
        Kind::Route,
        8,
        "3",
        vec![route("8", "r0", "d")],
        &[],
    ));
    talk.hear(barrier(8, "4"));
    talk.apply(Ok(()));
    assert_eq!(
        talk.said()[0],
        "in force: revision 8 [clusters/d routes/r0]"
    );
}

#[test]
fn what_is_sent_again_unchanged_changes_nothing() {
    let mut talk = Talk::start(held(1));
    talk.said();
    let again = vec![route("7", "r0", "c"), route("8", "r1", "c")];
    talk.hear(response(Kind::Route, 8, "1", again, &[]));
    talk.hear(barrier(8, "2"));
    talk.apply(Ok(()));
    assert_eq!(talk.said()[0], "in force: revision 8 [routes/r1]");
}

#[test]
fn pushes_that_come_while_one_is_applied_wait_their_turn() {
    let mut talk = begun();
    talk.hear(response(
        Kind::Cluster,
        1,
        "1",
        vec![cluster("1", "c")],
        &[],
    ));
    talk.hear(barrier(1, "2"));
    talk.hear(response(
        Kind::Route,
        2,
        "3",
        vec![route("2", "r", "c")],
        &[],
    ));
    talk.hear(barrier(2, "4"));
    assert_eq!(talk.applying.len(), 1);
    talk.apply(Ok(()));
    talk.apply(Ok(()));
    assert_eq!(
        talk.said(),
        [
            "in force: revision 1 [clusters/c]",
            "ACK Cluster 1",
            "ACK Revision 2",
            "in force: revision 2 [routes/r]",
            "ACK Route 3",
            "ACK Revision 4",
        ]
    );
}

#[test]
fn reading_pauses_behind_a_slow_apply_once_much_waits() {
    let mut talk = begun();
    talk.hear(barrier(1, "1"));
    assert!(talk.session.may_read());
    let mut large = cluster("2", "c");
    large.resource.as_mut().unwrap().value = vec![0; PAUSE_BYTES];
    talk.hear(response(Kind::Cluster, 2, "2", vec![large], &[]));
    assert!(!talk.session.may_read());
    talk.apply(Ok(()));
    assert!(talk.session.may_read());
}

#[test]
fn without_the_barrier_each_response_takes_effect_by_itself() {
    let mut talk = begun();
    talk.hear(response(
        Kind::Cluster,
        0,
        "1",
        vec![cluster("a", "c")],
        &[],
    ));
    talk.apply(Ok(()));
    talk.hear(response(
        Kind::Route,
        0,
        "2",
        vec![route("b", "r", "nowhere")],
        &[],
    ));
    talk.apply(Ok(()));
    talk.hear(response(
        Kind::Route,
        0,
        "3",
        vec![route("b", "r", "c")],
        &[],
    ));
    talk.apply(Ok(()));
    let said = talk.said();
    assert_eq!(
        said[..2],
        ["in force: revision 1 [clusters/c]", "ACK Cluster 1"]
    );
    assert!(said[3].starts_with("NACK Route 2 3: routes/r: "));
    assert_eq!(
        said[4..],
        ["in force: revision 2 [routes/r]", "ACK Route 3"]
    );

    // A number counted here means nothing to a server.
    let mut next = Talk::start(talk.session.held.clone());
    assert_eq!(next.said()[7], r#"subscribe Revision ["*"] {}"#);
}

#[test]
fn the_answer_that_there_is_no_revision_frees_what_waits() {
    let mut talk = begun();
    talk.hear(response(
        Kind::Cluster,
        5,
        "1",
        vec![cluster("5", "c")],
        &[],
    ));
    assert!(talk.applying.is_empty());
    let mut none = barrier(5, "2");
    none.resources.clear();
    none.removed_resources.push(BARRIER.into());
    talk.hear(none);
    talk.hear(response(
        Kind::Route,
        6,
        "3",
        vec![route("6", "r", "c")],
        &[],
    ));
    talk.apply(Ok(()));
    talk.apply(Ok(()));
    assert_eq!(
        talk.said(),
        [
            "in force: revision 1 [clusters/c]",
            "ACK Cluster 1",
            "ACK Revision 2",
            "in force: revision 2 [routes/r]",
            "ACK Route 3",
        ]
    );
}

#[test]
fn an_empty_answer_with_a_revision_keeps_the_barrier() {
    let mut talk = Talk::start(held(1));
    talk.said();
    let mut nothing_new = barrier(7, "1");
    nothing_new.resources.clear();
    talk.hear(nothing_new);
    assert_eq!(talk.said(), ["ACK Revision 1"]);
    talk.hear(response(
        Kind::Route,
        8,
        "2",
        vec![route("8", "r1", "c")],
        &[],
    ));
    assert!(talk.applying.is_empty());
    talk.hear(barrier(8, "3"));
    talk.apply(Ok(()));
    assert_eq!(talk.said().len(), 3);
}

#[test]
fn the_detail_of_a_nack_is_bounded() {
    let long = FieldError::new("routes/x", "match", "é".repeat(10_000));
    let text = join(std::slice::from_ref(&long));
    assert!(text.len() <= MAX_DETAIL && text.starts_with("routes/x: match: é"));
    let many = vec![FieldError::new("routes/x", "match", "is wrong"); 1000];
    let text = join(&many);
    assert!(text.len() <= MAX_DETAIL, "{}", text.len());
    let told = text.matches("is wrong").count();
    assert!(
        text.ends_with(&format!(" … and {} more faults", 1000 - told)),
        "{text}"
    );
    assert!(join(&[long.clone(), long]).ends_with(" … and 1 more faults"));
}

#[test]
fn the_server_is_told_which_policies_keep_failing() {
    let node = Node {
        id: "n".into(),
        fleet: "f".into(),
    };
    let failing = [FailingPolicy {
        policy: "p".into(),
        since: "2026-01-01T00:00:00Z".into(),
        cause: "trap".into(),
        message: "it trapped".into(),
    }];
    let told = |request: &DeltaDiscoveryRequest| {
        let metadata = request.node.as_ref()?.metadata.as_ref()?;
        let told = metadata.fields.get(FailingPolicy::METADATA)?;
        let Some(value::Kind::StringValue(text)) = &told.kind else {
            return None;
        };
        serde_json::from_str::<Vec<FailingPolicy>>(text).ok()
    };
    let (_, first) = Session::start(&node, &failing, Held::default());
    assert_eq!(told(&first[0]).unwrap(), failing);
    let later = tell(&node, &failing);
    assert_eq!(told(&later).unwrap(), failing);
    assert!(later.resource_names_subscribe.is_empty() && later.response_nonce.is_empty());
    assert!(tell(&node, &[]).node.unwrap().metadata.is_none());
}
