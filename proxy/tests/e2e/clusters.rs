//! Which endpoint gets a request, and over which connection.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::support::{Proxy, Server, Upstream, ask, documents, eventually};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A proxy that serves these resources besides a listener; its server, and a connection to it.
async fn serving(resources: &[Value]) -> (Server, Proxy, TcpStream) {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [&[documents::listener("web")], resources].concat();
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let stream = TcpStream::connect(web).await.expect("a connection");
    (server, proxy, stream)
}

/// How often each of `count` requests was answered by whom.
async fn answers(stream: &mut TcpStream, count: usize) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let (status, body) = ask(stream, GET).await;
        let name = if status == 200 {
            body
        } else {
            status.to_string()
        };
        *found.entry(name).or_default() += 1;
    }
    found
}

/// What a counter of the cluster `c` says.
async fn counted(proxy: &Proxy, name: &str) -> u64 {
    let (_, metrics) = proxy.page("/metrics").await;
    let line = format!("fleetway_cluster_{name}{{cluster=\"c\"}} ");
    let value = metrics.lines().find_map(|found| found.strip_prefix(&line));
    value.expect("a counter").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_spread_over_the_clusters_of_a_route_by_weight() {
    let (a, b, c) = tokio::join!(
        Upstream::named("a"),
        Upstream::named("b"),
        Upstream::named("c")
    );
    let mut route = documents::forward("r", "/", "a");
    route["forward"]["clusters"] = json!([
        {"name": "a", "weight": 9}, {"name": "b", "weight": 1}, {"name": "c", "weight": 0},
    ]);
    let (_server, _proxy, mut stream) = serving(&[
        documents::cluster("a", a.address),
        documents::cluster("b", b.address),
        documents::cluster("c", c.address),
        route,
    ])
    .await;
    let found = answers(&mut stream, 1000).await;
    assert_eq!(found.get("c"), None);
    assert_eq!(found["a"] + found["b"], 1000);
    // A tenth of a thousand, give or take five standard deviations.
    assert!((53..=147).contains(&found["b"]), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_takes_its_members_from_endpoints_fed_from_outside() {
    let (a, b) = tokio::join!(Upstream::named("a"), Upstream::named("b"));
    let (server, _proxy, mut stream) = serving(&[
        json!({"kind": "Cluster", "name": "c"}),
        documents::forward("r", "/", "c"),
    ])
    .await;
    assert_eq!(
        answers(&mut stream, 1).await,
        [("503".to_owned(), 1)].into()
    );

    let members = |members: Value| json!({"kind": "Endpoints", "name": "c", "endpoints": members});
    let both = members(json!([
        {"address": a.address.to_string(), "weight": 2}, {"address": b.address.to_string()},
    ]));
    server.client().commit_live(&[both], 1).await;
    let found = answers(&mut stream, 9).await;
    assert_eq!(found, [("a".to_owned(), 6), ("b".to_owned(), 3)].into());

    let one = members(json!([{"address": b.address.to_string()}]));
    server.client().commit_live(&[one], 1).await;
    assert_eq!(answers(&mut stream, 3).await, [("b".to_owned(), 3)].into());
    let revision = server.client().commit(&[], &[("Endpoints", "c")]).await;
    server.client().live(revision, 1).await;
    assert_eq!(
        answers(&mut stream, 1).await,
        [("503".to_owned(), 1)].into()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_for_the_next_request_as_the_pool_says() {
    let upstream = Upstream::named("a").await;
    let cluster = |pool: Value| {
        let mut cluster = documents::cluster("c", upstream.address);
        cluster["pool"] = pool;
        cluster
    };
    let (server, proxy, mut stream) =
        serving(&[cluster(json!({})), documents::forward("r", "/", "c")]).await;
    answers(&mut stream, 10).await;
    let count = async |name| counted(&proxy, name).await;
    assert_eq!(
        (
            count("connections_total").await,
            count("reused_total").await
        ),
        (1, 9)
    );

    let none = cluster(json!({"max_idle": 0}));
    server.client().commit_live(&[none], 1).await;
    answers(&mut stream, 10).await;
    // The one that was kept before is used once more, and then none is kept.
    assert_eq!(
        (
            count("connections_total").await,
            count("reused_total").await
        ),
        (10, 10)
    );

    let short = cluster(json!({"idle_timeout": "1ms"}));
    server.client().commit_live(&[short], 1).await;
    eventually("a kept connection is given up", async || {
        answers(&mut stream, 1).await;
        (count("connections_total").await > 11).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_to_an_endpoint_takes_no_longer_than_the_cluster_says() {
    // A socket whose queue is full, and that nobody accepts from, answers nothing.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    full.bind(&any.into()).expect("a port");
    full.listen(0).expect("a queue");
    let address = full
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("IP");
    let _first = std::net::TcpStream::connect(address).expect("the one that fits");
    let mut cluster = documents::cluster("c", address);
    cluster["connect_timeout"] = json!("50ms");
    let (_server, proxy, mut stream) = serving(&[cluster, documents::forward("r", "/", "c")]).await;
    let (status, _) = ask(&mut stream, GET).await;
    assert_eq!(status, 504);
    assert_eq!(counted(&proxy, "connect_failures_total").await, 1);
}
