//! The discovery streams over real connections, as a client sees them.

pub(crate) mod support;

use self::support::{
    Client, KINDS, Server, cluster, endpoints, forward, listener, node, request, route, short,
    within,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use fleetway_api::{Kind, proto::type_url, rest::NodeState};
use fleetway_xds::config::Config;
use std::time::Duration;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic::Code;

#[tokio::test]
async fn a_revision_arrives_in_order_and_is_live_when_acknowledged() {
    let server = Server::start().await;
    let revision = server.commit(
        vec![
            forward("r", "c"),
            listener("l", 1),
            cluster("c"),
            endpoints("c"),
        ],
        &[],
    );
    let mut client = Client::start(&server, "n", true).await;
    let push = client.push().await;
    let order: Vec<String> = push.iter().map(short).collect();
    assert_eq!(
        order,
        [
            "Cluster@1 +c",
            "Endpoints@1 +c",
            "Listener@1 +l",
            "Route@1 +r",
            "Revision@1 +revision"
        ]
    );
    let waiting = server.fleet.status(revision);
    assert_eq!((waiting.nodes, waiting.nodes_live), (1, 0));
    assert!(
        waiting.waiting[0]
            .reason
            .starts_with("has not answered revision 1")
    );
    client.ack(&push).await;
    server.until(|fleet| fleet.status(revision).live).await;
    let node = server.fleet.node("n").unwrap();
    assert_eq!((node.state, node.live_revision), (NodeState::Live, Some(1)));
    assert_eq!((node.fleet.as_str(), node.lag), ("edge", Some(0)));
    assert_eq!(node.types.len(), 5);
    drop(client);
    server
        .until(|fleet| fleet.node("n").unwrap().state == NodeState::Disconnected)
        .await;
}

#[tokio::test]
async fn a_client_that_comes_back_is_sent_the_one_route_that_changed() {
    let server = Server::start().await;
    let routes = (0..50).map(|n| route(&format!("r{n}"), "old")).collect();
    server.commit(routes, &[]);
    let mut client = Client::start(&server, "n", true).await;
    let first = client.push().await;
    client.ack(&first).await;
    drop(client);
    server.commit(vec![route("r7", "new")], &[]);

    let mut client = Client::open(&server).await;
    for url in KINDS.into_iter().chain([type_url::REVISION]) {
        let of_type = first.iter().filter(|response| response.type_url == url);
        client
            .send(DeltaDiscoveryRequest {
                node: Some(node("n", true)),
                initial_resource_versions: of_type
                    .flat_map(|response| &response.resources)
                    .map(|resource| (resource.name.clone(), resource.version.clone()))
                    .collect(),
                ..request(url)
            })
            .await;
    }
    assert_eq!(
        client.accept().await,
        ["Route@2 +r7", "Revision@2 +revision"]
    );
}

#[tokio::test]
async fn a_refused_revision_is_shown_and_the_next_one_heals_it() {
    let server = Server::start().await;
    server.commit(vec![cluster("c")], &[]);
    let mut client = Client::start(&server, "n", true).await;
    client.accept().await;
    server.commit(vec![listener("taken", 80), cluster("d")], &[]);
    let push = client.push().await;
    client
        .nack(&push, "listeners/taken: address: port 80 is taken")
        .await;
    server
        .until(|fleet| fleet.node("n").unwrap().state == NodeState::Rejected)
        .await;
    let node = server.fleet.node("n").unwrap();
    assert_eq!((node.live_revision, node.lag), (Some(1), Some(1)));
    let error = node.last_error.unwrap();
    assert_eq!(error.revision, 2);
    assert_eq!(error.message, "listeners/taken: address: port 80 is taken");
    let healed = server.commit(vec![listener("taken", 81)], &[]);
    assert_eq!(
        client.accept().await,
        ["Cluster@3 +d", "Listener@3 +taken", "Revision@3 +revision"]
    );
    server.until(|fleet| fleet.status(healed).live).await;
    assert!(server.fleet.node("n").unwrap().last_error.is_none());
}

#[tokio::test]
async fn a_revision_that_is_yet_to_be_sent_after_a_refused_one_is_not_refused() {
    let server = Server::start().await;
    let refused = server.commit(vec![cluster("c")], &[]);
    let mut client = Client::start(&server, "n", true).await;
    let push = client.push().await;
    client.nack(&push, "no").await;
    server.until(|fleet| fleet.status(refused).refused).await;
    server.commit(vec![cluster("d")], &[]);
    assert!(
        !server.fleet.status(refused).refused,
        "what follows may be accepted"
    );
    client.accept().await;
    server.until(|fleet| fleet.status(refused).live).await;
}

#[tokio::test]
async fn a_new_stream_is_sent_the_refused_revision_again() {
    let server = Server::start().await;
    server.commit(vec![cluster("c")], &[]);
    let mut client = Client::start(&server, "n", true).await;
    let push = client.push().await;
    client.nack(&push, "no").await;
    drop(client);
    let mut client = Client::start(&server, "n", true).await;
    assert_eq!(
        client.accept().await,
        ["Cluster@1 +c", "Revision@1 +revision"]
    );
}

#[tokio::test]
async fn commits_during_a_push_are_sent_as_one() {
    let server = Server::start().await;
    let mut client = Client::start(&server, "n", true).await;
    let first = client.push().await;
    let mut last = 0;
    for n in 0..5 {
        last = server.commit(
            vec![route(&format!("r{n}"), "x"), route("all", &n.to_string())],
            &[],
        );
    }
    client.ack(&first).await;
    assert_eq!(
        client.accept().await,
        ["Route@5 +all +r0 +r1 +r2 +r3 +r4", "Revision@5 +revision"]
    );
    server.until(|fleet| fleet.status(last).live).await;
    let pushes = &server.fleet.counters().pushes;
    assert_eq!(pushes.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_answers_or_never_reads_delays_nobody() {
    let server = Server::start().await;
    let mut mute = Client::start(&server, "mute", true).await;
    mute.push().await;
    // It reads nothing: far more is on its way than connection and buffers hold.
    let body = "x".repeat(60 * 1024);
    let routes = (0..200).map(|n| route(&format!("big{n}"), &body)).collect();
    server.commit(routes, &[]);
    let _deaf = Client::start(&server, "deaf", true).await;
    server
        .until(|fleet| {
            let deaf = fleet.node("deaf");
            deaf.is_some_and(|deaf| deaf.pending.is_some())
        })
        .await;
    server.commit(vec![], &[(Kind::Route, "big0")]);
    let deletes: Vec<String> = (1..200).map(|n| format!("big{n}")).collect();
    let deletes: Vec<(Kind, &str)> = deletes.iter().map(|n| (Kind::Route, n.as_str())).collect();
    server.commit(vec![], &deletes);
    let mut others = tokio::task::JoinSet::new();
    for n in 0..100 {
        let mut client = Client::start(&server, &format!("n{n}"), true).await;
        others.spawn(async move {
            loop {
                client.accept().await;
            }
        });
    }
    let revision = server.commit(vec![route("small", "")], &[]);
    server
        .until(|fleet| fleet.status(revision).nodes_live == 100)
        .await;
    let status = server.fleet.status(revision);
    let waiting: Vec<(&str, bool)> = status
        .waiting
        .iter()
        .map(|node| {
            (
                node.id.as_str(),
                node.reason.starts_with("has not read all of"),
            )
        })
        .collect();
    assert_eq!(waiting, [("deaf", true), ("mute", false)]);
    others.abort_all();
}

#[tokio::test]
async fn a_client_without_a_node_id_is_told_so() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    client.send(request(type_url::ROUTE)).await;
    let status = within(client.responses.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().starts_with("node.id is missing"),
        "{status}"
    );
    assert!(server.fleet.nodes().is_empty());
}

#[tokio::test]
async fn an_unknown_type_is_answered_counted_and_shown() {
    let server = Server::start().await;
    server.commit(vec![route("r", "")], &[]);
    let mut client = Client::open(&server).await;
    client
        .send(DeltaDiscoveryRequest {
            node: Some(node("n", false)),
            resource_names_subscribe: vec!["x".to_owned()],
            ..request("type.googleapis.com/envoy.config.listener.v3.Listener")
        })
        .await;
    let response = client.next().await;
    assert_eq!(short(&response), "Listener@1 -x");
    client.ack(&[response]).await;
    client.send(request(type_url::ROUTE)).await;
    assert_eq!(short(&client.next().await), "Route@1 +r");
    let node = server.fleet.node("n").unwrap();
    assert_eq!((node.protocol_errors, node.types.len()), (1, 2));
}

#[tokio::test]
async fn a_plain_client_is_served_make_before_break() {
    let server = Server::start().await;
    server.commit(
        vec![
            cluster("a"),
            endpoints("a"),
            listener("l", 1),
            forward("r", "a"),
        ],
        &[],
    );
    let mut client = Client::start(&server, "n", false).await;
    server
        .until(|fleet| fleet.node("n").is_some_and(|n| n.types.len() == 4))
        .await;
    let mut seen = Vec::new();
    let step = async |client: &mut Client, seen: &mut Vec<String>| {
        let response = client.next().await;
        client.ack(std::slice::from_ref(&response)).await;
        seen.push(short(&response));
    };
    for _ in 0..4 {
        step(&mut client, &mut seen).await;
    }
    seen.clear();
    let moved = server.commit(
        vec![cluster("b"), endpoints("b"), forward("r", "b")],
        &[(Kind::Endpoints, "a"), (Kind::Cluster, "a")],
    );
    for _ in 0..5 {
        step(&mut client, &mut seen).await;
    }
    assert_eq!(
        seen,
        [
            "Cluster@2 +b",
            "Endpoints@2 +b",
            "Route@2 +r",
            "Endpoints@2 -a",
            "Cluster@2 -a"
        ]
    );
    server.until(|fleet| fleet.status(moved).live).await;
}

#[tokio::test]
async fn the_other_variant_of_the_protocol_is_refused_with_advice() {
    let server = Server::start().await;
    let url = format!("http://{}", server.address);
    let mut client = AggregatedDiscoveryServiceClient::connect(url)
        .await
        .unwrap();
    let requests = tokio_stream::empty::<DiscoveryRequest>();
    let status = client
        .stream_aggregated_resources(requests)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("DeltaAggregatedResources"));
}

#[tokio::test]
async fn on_shutdown_every_client_is_told_to_go_elsewhere() {
    let server = Server::start().await;
    let mut client = Client::start(&server, "n", true).await;
    client.accept().await;
    server.shutdown.cancel();
    let status = within(client.responses.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    drop(client);
    within(server.served).await.unwrap();
}

#[tokio::test]
async fn a_connection_without_a_stream_does_not_hold_up_the_stop() {
    let patient = |config: &mut Config| config.drain_timeout = Duration::from_secs(600);
    let server = crate::support::Server::start_with(patient).await;
    let mut silent = TcpStream::connect(server.xds()).await.unwrap();
    // What the server says first: it has the connection.
    within(silent.read_u8()).await.unwrap();
    within(server.stop()).await;
}
