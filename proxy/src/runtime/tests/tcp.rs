//! Listeners that pass bytes on.

use std::io;

use super::*;
use crate::telemetry::{ClusterCounters, ListenerCounters};

/// An upstream that answers what it is sent with its name before it, and ends when its client has.
async fn shouting(name: &'static str) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut read = [0; 1024];
                while let Ok(some @ 1..) = stream.read(&mut read).await {
                    let answer = [name.as_bytes(), b" ", &read[..some]].concat();
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    address
}

/// An address nobody listens on.
async fn nobody() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

/// A listener that passes connections on to these endpoints.
fn relay(settings: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|address| format!("{{address: '{address}'}}"))
        .collect();
    format!(
        "{{kind: Listener, name: web, address: '127.0.0.1:0', tcp: {{clusters: [{{name: a}}]{settings}}}}}\n---\n\
         {{kind: Cluster, name: a, endpoints: [{}]}}\n---\n",
        endpoints.join(", ")
    )
}

async fn started(yaml: &str) -> (Arc<Runtime>, SocketAddr) {
    let runtime = Arc::new(Runtime::start(2).unwrap());
    apply(&runtime, 1, yaml).await.unwrap();
    let at = address(&runtime, "web");
    (runtime, at)
}

/// Sends a word and reads the answer to it.
async fn say(stream: &mut TcpStream, word: &str) -> io::Result<String> {
    stream.write_all(word.as_bytes()).await?;
    let mut read = [0; 1024];
    let some = stream.read(&mut read).await?;
    Ok(String::from_utf8_lossy(&read[..some]).into_owned())
}

/// The same on a connection of its own, which may be reset as soon as it is made.
async fn connect_and_say(at: SocketAddr, word: &str) -> io::Result<String> {
    say(&mut TcpStream::connect(at).await?, word).await
}

/// Waits for the other side's end: whether it was in order.
async fn ends_in_order(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.is_ok()
}

fn counted(counters: &ListenerCounters, of: fn(&crate::telemetry::ListenerShard) -> u64) -> u64 {
    (0..2).map(|worker| of(counters.shard(worker))).sum()
}

fn counters(runtime: &Runtime) -> (Arc<ListenerCounters>, Arc<ClusterCounters>) {
    let snapshot = runtime.snapshot();
    let listener = snapshot.listeners.values().next().unwrap().counters.clone();
    let cluster = snapshot.clusters().next().unwrap().counters.clone();
    (listener, cluster)
}

pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("it comes true");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_passed_on_and_counted() {
    let (runtime, at) = started(&relay("", &[shouting("one").await])).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    assert_eq!(say(&mut client, "hello").await.unwrap(), "one hello");
    let (listener, cluster) = counters(&runtime);
    let of_cluster = |of: fn(&crate::telemetry::ClusterShard) -> u64| -> u64 {
        (0..2).map(|worker| of(cluster.shard(worker))).sum()
    };
    assert_eq!(of_cluster(|s| s.relays_active.get()), 1);
    client.shutdown().await.unwrap();
    assert!(ends_in_order(&mut client).await);
    until(|| counted(&listener, |s| s.connections_active.get()) == 0).await;
    assert_eq!(of_cluster(|s| s.relays_active.get()), 0);
    assert_eq!(of_cluster(|s| s.connections.get()), 1);
    assert_eq!(of_cluster(|s| s.sent_bytes.get()), 5);
    assert_eq!(of_cluster(|s| s.received_bytes.get()), 9);
    assert_eq!(counted(&listener, |s| s.received_bytes.get()), 5);
    assert_eq!(counted(&listener, |s| s.sent_bytes.get()), 9);
    assert_eq!(counted(&listener, |s| s.connections.get()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_endpoint_is_tried_when_one_cannot_be_connected_to() {
    let endpoints = [nobody().await, nobody().await, shouting("one").await];
    let (runtime, at) = started(&relay("", &endpoints)).await;
    for _ in 0..6 {
        let mut client = TcpStream::connect(at).await.unwrap();
        assert_eq!(say(&mut client, "hello").await.unwrap(), "one hello");
    }
    let (listener, _) = counters(&runtime);
    assert_eq!(counted(&listener, |s| s.no_endpoint.get()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_reset_when_no_endpoint_can_be_connected_to() {
    let dead = [nobody().await, nobody().await];
    for (endpoints, failures) in [(&dead[..], 2), (&dead[..1], 1), (&[], 0)] {
        let (runtime, at) = started(&relay("", endpoints)).await;
        assert!(connect_and_say(at, "hello").await.is_err());
        let (listener, cluster) = counters(&runtime);
        assert_eq!(counted(&listener, |s| s.no_endpoint.get()), 1);
        let failed: u64 = (0..2)
            .map(|worker| cluster.shard(worker).connect_failures.get())
            .sum();
        assert_eq!(failed, failures, "each endpoint is tried once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_endpoints_are_tried_than_the_listener_says() {
    let endpoints = [nobody().await, shouting("one").await];
    let settings = ", max_connect_attempts: 1";
    let (_runtime, at) = started(&relay(settings, &endpoints)).await;
    let mut outcomes = std::collections::BTreeSet::new();
    // One of the two workers has more than one of these, and takes the endpoints in turn.
    for _ in 0..12 {
        outcomes.insert(connect_and_say(at, "hello").await.is_ok());
    }
    assert_eq!(outcomes, [false, true].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_takes_new_connections_and_leaves_the_others_alone() {
    let (runtime, at) = started(&relay("", &[shouting("one").await])).await;
    let mut before = TcpStream::connect(at).await.unwrap();
    assert_eq!(say(&mut before, "1").await.unwrap(), "one 1");
    let two = shouting("two").await;
    let changed = format!(
        "{{kind: Listener, name: web, address: '127.0.0.1:0', tcp: {{clusters: [{{name: b}}]}}}}\n---\n\
         {{kind: Cluster, name: b, endpoints: [{{address: '{two}'}}]}}"
    );
    apply(&runtime, 2, &changed).await.unwrap();
    assert_eq!(address(&runtime, "web"), at);
    let mut after = TcpStream::connect(at).await.unwrap();
    assert_eq!(say(&mut after, "2").await.unwrap(), "two 2");
    assert_eq!(say(&mut before, "3").await.unwrap(), "one 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_when_the_time_to_drain_is_over() {
    let yaml = relay(", drain_timeout: 100ms", &[shouting("one").await]);
    let (runtime, at) = started(&yaml).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    assert_eq!(say(&mut client, "1").await.unwrap(), "one 1");
    let removed = "{kind: Cluster, name: a}";
    apply(&runtime, 2, removed).await.unwrap();
    assert!(!ends_in_order(&mut client).await);

    let long = yaml.replace("100ms", "1h");
    apply(&runtime, 3, &long).await.unwrap();
    let mut client = TcpStream::connect(address(&runtime, "web")).await.unwrap();
    assert_eq!(say(&mut client, "1").await.unwrap(), "one 1");
    let draining = runtime.drain(Duration::from_secs(3600));
    let talking = async {
        assert_eq!(say(&mut client, "2").await.unwrap(), "one 2");
        client.shutdown().await.unwrap();
        assert!(ends_in_order(&mut client).await, "it ends when it is done");
    };
    tokio::join!(draining, talking);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_idle_or_open_for_too_long_are_cut() {
    for setting in ["idle_timeout", "max_duration"] {
        let yaml = relay(&format!(", {setting}: 50ms"), &[shouting("one").await]);
        let (runtime, at) = started(&yaml).await;
        let mut client = TcpStream::connect(at).await.unwrap();
        assert!(!ends_in_order(&mut client).await, "{setting}");
        let (listener, _) = counters(&runtime);
        assert_eq!(counted(&listener, |s| s.timeouts.get()), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_changes_its_protocol_keeps_its_socket_and_drains_its_connections() {
    let one = shouting("one").await;
    let http = |body: &str| {
        format!("{WEB}{{kind: Route, name: r, respond: {{status: 200, body: {body}}}}}")
    };
    let (runtime, at) = started(&http("before")).await;
    let mut requests = TcpStream::connect(at).await.unwrap();
    let ask = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(say(&mut requests, ask).await.unwrap().ends_with("before"));

    apply(&runtime, 2, &relay("", &[one])).await.unwrap();
    assert_eq!(address(&runtime, "web"), at);
    let mut bytes = TcpStream::connect(at).await.unwrap();
    assert_eq!(say(&mut bytes, "1").await.unwrap(), "one 1");
    // It has no request in flight.
    assert!(ends_in_order(&mut requests).await);

    apply(&runtime, 3, &http("after")).await.unwrap();
    assert_eq!(address(&runtime, "web"), at);
    assert!(get(at, "/").await.ends_with("after"));
    assert_eq!(say(&mut bytes, "2").await.unwrap(), "one 2");
    bytes.shutdown().await.unwrap();
    assert!(ends_in_order(&mut bytes).await);
}
