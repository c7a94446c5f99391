mod http2;
mod passthrough;
mod proxy_protocol;
mod tcp;
mod tunnels;

use bytes::Bytes;
use fleetway_api::{Change, Entry, document};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::snapshot::{Origin, Received, Resources, Version};

/// The update that makes of `before` what the documents say.
fn update(before: &Resources, revision: u64, yaml: &str) -> Update {
    let documents =
        document::read_all(yaml, document::Format::Yaml, "test").expect("valid documents");
    let mut changes: Vec<Change<Received>> = before
        .iter()
        .map(|entry| Change::Delete(entry.resource.id()))
        .filter(|change| {
            !documents
                .iter()
                .any(|(document, _)| document.id == change.id())
        })
        .collect();
    changes.extend(documents.into_iter().map(|(_, resource)| {
        Change::Put(Arc::new(Entry {
            resource,
            data: Received {
                version: Version::from(revision),
                wire: Bytes::new(),
            },
        }))
    }));
    let changed = changes.iter().map(Change::id).collect();
    let resources = before.apply(changes).expect("a valid set");
    Update {
        resources,
        changed,
        revision,
        time_ms: 0,
        origin: Origin::Nowhere,
    }
}

async fn apply(runtime: &Arc<Runtime>, revision: u64, yaml: &str) -> Result<(), Vec<FieldError>> {
    let before = runtime.snapshot().resources.clone();
    runtime.apply(update(&before, revision, yaml)).await
}

/// Sends a request on a connection of its own; the whole answer.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn address(runtime: &Runtime, listener: &str) -> SocketAddr {
    runtime.addresses().borrow()[listener]
}

/// An upstream that answers every request with its name and what it was asked.
async fn upstream(name: &'static str) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = hyper::service::service_fn(move |request: http::Request<_>| async move {
                let _: &hyper::body::Incoming = request.body();
                let text = format!("{name} {} {:?}", request.uri(), request.headers());
                Ok::<_, std::convert::Infallible>(http::Response::new(text))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
            );
        }
    });
    address
}

const WEB: &str = "{kind: Listener, name: web, address: '127.0.0.1:0', http: {}}\n---\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_forwarded_to_the_cluster_of_its_route() {
    let runtime = Arc::new(Runtime::start(2).unwrap());
    let backend = upstream("one").await;
    let yaml = format!(
        "{WEB}{{kind: Cluster, name: a, endpoints: [{{address: '{backend}'}}]}}\n---\n\
         {{kind: Route, name: r, forward: {{clusters: [{{name: a}}]}}}}"
    );
    apply(&runtime, 1, &yaml).await.unwrap();
    let answer = get(address(&runtime, "web"), "/x?y").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("one /x?y"), "{answer}");
    assert!(
        answer.contains("\"x-forwarded-for\": \"127.0.0.1\""),
        "{answer}"
    );
    assert!(answer.contains("\"via\": \"1.1 fleetway\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_served_by_every_worker_once_it_is_applied() {
    let runtime = Arc::new(Runtime::start(2).unwrap());
    let route = |body: &str| {
        format!("{WEB}{{kind: Route, name: r, respond: {{status: 200, body: {body}}}}}")
    };
    apply(&runtime, 1, &route("before")).await.unwrap();
    let at = address(&runtime, "web");
    for round in 0..20 {
        let body = format!("round-{round}");
        apply(&runtime, round + 2, &route(&body)).await.unwrap();
        for _ in 0..4 {
            let answer = get(at, "/").await;
            assert!(answer.ends_with(&body), "{answer}");
        }
    }
    assert_eq!(
        address(&runtime, "web"),
        at,
        "an unchanged listener keeps its socket"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_refuses_the_whole_update() {
    let runtime = Arc::new(Runtime::start(1).unwrap());
    let owner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = owner.local_addr().unwrap();
    let first = format!("{WEB}{{kind: Route, name: r, respond: {{status: 200, body: old}}}}");
    apply(&runtime, 1, &first).await.unwrap();
    let second = format!(
        "{WEB}{{kind: Route, name: r, respond: {{status: 200, body: new}}}}\n---\n\
         {{kind: Listener, name: busy, address: '{taken}', http: {{}}}}"
    );
    let errors = apply(&runtime, 2, &second).await.unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .starts_with("listeners/busy: address: cannot listen on")
    );
    assert!(get(address(&runtime, "web"), "/").await.ends_with("old"));
    assert_eq!(runtime.snapshot().revision, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_listener_closes_its_socket_and_the_others_stay() {
    let runtime = Arc::new(Runtime::start(2).unwrap());
    let other = "{kind: Listener, name: other, address: '127.0.0.1:0', http: {}}\n---\n";
    let route = "{kind: Route, name: r, respond: {status: 200, body: hello}}";
    apply(&runtime, 1, &format!("{WEB}{other}{route}"))
        .await
        .unwrap();
    let (web, gone) = (address(&runtime, "web"), address(&runtime, "other"));
    assert!(get(gone, "/").await.ends_with("hello"));
    apply(&runtime, 2, &format!("{WEB}{route}")).await.unwrap();
    assert!(!runtime.addresses().borrow().contains_key("other"));
    assert!(get(web, "/").await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_route_or_an_endpoint_are_answered_here() {
    let runtime = Arc::new(Runtime::start(1).unwrap());
    let yaml = format!(
        "{WEB}{{kind: Cluster, name: a}}\n---\n\
         {{kind: Route, name: r, match: {{path: {{prefix: /a}}}}, forward: {{clusters: [{{name: a}}]}}}}"
    );
    apply(&runtime, 1, &yaml).await.unwrap();
    let at = address(&runtime, "web");
    assert!(get(at, "/b").await.starts_with("HTTP/1.1 404 "));
    assert!(get(at, "/a").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_a_drain_may_take_is_the_one_that_was_set_last() {
    let runtime = Arc::new(Runtime::start(2).unwrap());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = silent.local_addr().unwrap();
    let yaml = |drain: &str| {
        format!(
            "{{kind: Listener, name: web, address: '127.0.0.1:0', http: {{drain_timeout: {drain}}}}}\n---\n\
             {{kind: Cluster, name: a, endpoints: [{{address: '{backend}'}}]}}\n---\n\
             {{kind: Route, name: r, forward: {{clusters: [{{name: a}}], timeout: 0s}}}}"
        )
    };
    apply(&runtime, 1, &yaml("1h")).await.unwrap();
    apply(&runtime, 2, &yaml("100ms")).await.unwrap();
    let client = tokio::spawn({
        let at = address(&runtime, "web");
        async move {
            let mut client = TcpStream::connect(at).await.unwrap();
            client
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            client.read_u8().await.unwrap_err();
        }
    });
    let _held = silent.accept().await.unwrap();
    let draining = runtime.drain(Duration::from_secs(3600));
    let drained = tokio::time::timeout(Duration::from_secs(20), draining).await;
    drained.expect("it drains in the time set last");
    client.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_connections_are_spread_evenly_over_the_workers() {
    let runtime = Arc::new(Runtime::start(3).unwrap());
    let yaml = format!("{WEB}{{kind: Route, name: r, respond: {{status: 200, body: hello}}}}");
    apply(&runtime, 1, &yaml).await.unwrap();
    let at = address(&runtime, "web");
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = TcpStream::connect(at).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        // Answered, so that it has its worker.
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            answer.push(client.read_u8().await.unwrap());
        }
        clients.push(client);
    }
    let snapshot = runtime.snapshot();
    let web = &snapshot.listeners[&Name::new("web").unwrap()];
    let open = |worker| web.counters.shard(worker).connections_active.get();
    assert_eq!([0, 1, 2].map(open), [2, 2, 2]);
    // Those that were handed over are drained as all others.
    runtime.drain(Duration::from_secs(20)).await;
    for mut client in clients {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
