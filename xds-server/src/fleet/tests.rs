use super::*;
use crate::delta::{InFlight, Refusal};

fn identity(id: &str) -> Identity {
    Identity {
        id: id.to_owned(),
        fleet: "edge".to_owned(),
        build: "proxy 1".to_owned(),
    }
}

fn open(fleet: &Arc<Fleet>, id: &str) -> Listed {
    let stream = fleet.next_stream();
    fleet
        .open(stream, identity(id), "10.0.0.1:5".to_owned())
        .unwrap()
}

#[test]
fn a_status_says_who_waits_and_why() {
    let fleet = Arc::new(Fleet::default());
    let mut live = open(&fleet, "live");
    live.update(Facts {
        live_revision: Some(8),
        ..Facts::default()
    });
    let mut slow = open(&fleet, "slow");
    slow.update(Facts {
        live_revision: Some(6),
        in_flight: Some(InFlight {
            revision: 7,
            since_ms: 0,
            unread: false,
        }),
        ..Facts::default()
    });
    let mut bad = open(&fleet, "bad");
    bad.update(Facts {
        refusal: Some(Refusal {
            revision: 7,
            time_ms: 0,
            message: "port taken".to_owned(),
        }),
        types: vec![rest::NodeType {
            type_url: "type.googleapis.com/fleetway.v1.Route".to_owned(),
            acknowledged: None,
            names: None,
        }],
        ..Facts::default()
    });
    let _idle = open(&fleet, "idle");
    let status = fleet.status(7);
    assert_eq!(
        (status.nodes, status.nodes_live, status.live),
        (4, 1, false)
    );
    let reasons: Vec<(&str, &str)> = status
        .waiting
        .iter()
        .map(|node| (node.id.as_str(), node.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("bad", "refused revision 7: port taken"),
            ("idle", "has not subscribed to anything"),
            (
                "slow",
                "has not answered revision 7, sent since 1970-01-01T00:00:00Z"
            ),
        ]
    );
    assert!(fleet.status(0).waiting.iter().any(|node| node.id == "bad"));
}

#[test]
fn a_revision_is_refused_when_all_that_wait_refused_it_and_nothing_is_on_its_way() {
    let fleet = Arc::new(Fleet::default());
    let refused = |revision| Facts {
        refusal: Some(Refusal {
            revision,
            time_ms: 0,
            message: "port taken".to_owned(),
        }),
        ..Facts::default()
    };
    let mut live = open(&fleet, "live");
    live.update(Facts {
        live_revision: Some(7),
        ..Facts::default()
    });
    assert!(!fleet.status(7).refused, "nobody waits");
    let mut bad = open(&fleet, "bad");
    let mut other = open(&fleet, "other");
    bad.update(refused(7));
    assert!(!fleet.status(7).refused, "the other may accept it");
    other.update(refused(6));
    assert!(!fleet.status(7).refused, "it refused an older one");
    other.update(Facts {
        in_flight: Some(InFlight {
            revision: 8,
            since_ms: 0,
            unread: false,
        }),
        ..refused(7)
    });
    assert!(!fleet.status(7).refused, "a later one is on its way");
    other.update(refused(8));
    assert!(fleet.status(7).refused);
    drop(other);
    assert!(fleet.status(7).refused, "who is gone does not count");
    drop(bad);
    assert!(!fleet.status(7).refused && fleet.status(7).live);
}

#[test]
fn of_two_streams_of_one_id_the_newest_speaks() {
    let fleet = Arc::new(Fleet::default());
    let mut first = open(&fleet, "n");
    let mut second = open(&fleet, "n");
    first.update(Facts {
        live_revision: Some(1),
        ..Facts::default()
    });
    second.update(Facts {
        live_revision: Some(2),
        ..Facts::default()
    });
    assert_eq!(fleet.nodes().len(), 2);
    let node = fleet.node("n").unwrap();
    assert_eq!((node.live_revision, node.protocol_errors), (Some(2), 1));
    drop(first);
    assert_eq!(fleet.nodes().len(), 1);
    drop(second);
    let node = fleet.node("n").unwrap();
    assert_eq!(node.state, NodeState::Disconnected);
    assert_eq!(fleet.status(1).nodes, 0);
    let _again = open(&fleet, "n");
    assert_eq!(fleet.nodes().len(), 1);
}

#[test]
fn a_node_gone_for_long_is_forgotten() {
    let fleet = Arc::new(Fleet::default());
    drop(open(&fleet, "gone"));
    let _here = open(&fleet, "here");
    fleet.forget(now_ms() + KEPT_MS - 10_000);
    assert_eq!(fleet.nodes().len(), 2);
    fleet.forget(now_ms() + KEPT_MS);
    assert_eq!(fleet.nodes().len(), 1);
}

#[test]
fn room_is_made_for_a_connected_node_by_one_that_is_gone() {
    let fleet = Arc::new(Fleet::default());
    let mut connected: Vec<Listed> = (0..MAX_NODES - 1)
        .map(|n| open(&fleet, &n.to_string()))
        .collect();
    drop(open(&fleet, "gone"));
    connected.push(open(&fleet, "new"));
    assert!(fleet.node("gone").is_none());
    let more = fleet.open(0, identity("more"), String::new());
    assert_eq!(more.err(), Some(Full::Nodes));
}

#[test]
fn the_streams_of_one_id_are_bounded() {
    let fleet = Arc::new(Fleet::default());
    let _streams: Vec<Listed> = (0..MAX_STREAMS).map(|_| open(&fleet, "n")).collect();
    let more = fleet.open(0, identity("n"), String::new());
    assert_eq!(more.err(), Some(Full::Streams));
    let open = &fleet.counters().streams_open;
    assert_eq!(open.load(Ordering::Relaxed), MAX_STREAMS as u64);
}
