//! Listeners that come, change and go while requests are in flight, and a proxy that stops.

use std::{net::SocketAddr, sync::mpsc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Proxy, Server, Upstream, answered, ask, documents, eventually, refuses};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// An upstream that answers each request when it is told to.
async fn held() -> (Upstream, mpsc::Sender<()>) {
    let (release, word) = mpsc::channel::<()>();
    let word = std::sync::Mutex::new(word);
    let upstream = Upstream::answering(move |_, _| {
        // A blocking answer stands for a slow one; what else runs goes on on another thread.
        let _ = tokio::task::block_in_place(|| word.lock().expect("one request").recv());
        http::Response::new("finished".to_owned())
    })
    .await;
    (upstream, release)
}

/// A proxy with these flags before such an upstream; where it listens.
async fn serving_slowly(flags: &[&str]) -> (Slow, Proxy, mpsc::Sender<()>, SocketAddr) {
    let (upstream, release) = held().await;
    let server = Server::start().await;
    let proxy = Proxy::with(&server, "p1", "blue", flags).await;
    let all = [
        documents::listener("web"),
        documents::cluster("slow", upstream.address),
        documents::forward("r", "/", "slow"),
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    ((server, upstream), proxy, release, web)
}

/// What has to live on beside the proxy.
type Slow = (Server, Upstream);

async fn in_flight(proxy: &Proxy) {
    eventually("the request is in flight", async || {
        let (_, metrics) = proxy.page("/metrics").await;
        let line = "fleetway_cluster_requests_active{cluster=\"slow\"} 1";
        metrics.contains(line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_listener_keeps_its_connections_and_a_removed_one_finishes_its_requests() {
    let (slow, release) = held().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [
        documents::listener("web"),
        documents::listener("other"),
        documents::respond("hello", "/", "one"),
        documents::cluster("slow", slow.address),
        documents::forward("slow", "/slow", "slow"),
    ];
    server.client().commit_live(&all, 1).await;
    let (web, other) = tokio::join!(proxy.listener("web"), proxy.listener("other"));
    let mut kept = TcpStream::connect(web).await.expect("a connection");
    assert_eq!(ask(&mut kept, GET).await, (200, "one".to_owned()));
    let mut waiting = TcpStream::connect(other).await.expect("a connection");
    let request = GET.replace("GET /", "GET /slow");
    waiting.write_all(request.as_bytes()).await.expect("sent");
    in_flight(&proxy).await;

    let mut changed = documents::listener("web");
    changed["http"] = json!({"idle_timeout": "30s"});
    let changes = [changed, documents::respond("hello", "/", "two")];
    let removed = [
        ("Listener", "other"),
        ("Route", "slow"),
        ("Cluster", "slow"),
    ];
    let revision = server.client().commit(&changes, &removed).await;
    server.client().live(revision, 1).await;
    assert_eq!(proxy.listener("web").await, web, "the socket stays");
    assert_eq!(ask(&mut kept, GET).await, (200, "two".to_owned()));
    refuses(other).await;
    release.send(()).expect("a request that waits");
    assert_eq!(answered(&mut waiting).await, (200, "finished".to_owned()));
    assert_eq!(waiting.read(&mut [0]).await.expect("the end"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_whose_address_changes_is_at_the_new_one_only() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [
        documents::listener("web"),
        documents::respond("r", "/", "here"),
    ];
    server.client().commit_live(&all, 1).await;
    let before = proxy.listener("web").await;
    let free = std::net::TcpListener::bind("127.0.0.2:0").expect("a port");
    let after = free.local_addr().expect("an address");
    drop(free);
    let mut moved = documents::listener("web");
    moved["address"] = json!(after.to_string());
    server.client().commit_live(&[moved], 1).await;
    let mut stream = TcpStream::connect(after).await.expect("the new address");
    assert_eq!(ask(&mut stream, GET).await, (200, "here".to_owned()));
    refuses(before).await;
}

/// Of 20 connections whose clients say nothing, how many are given out as soon as they are there: the others
/// are not whole to the kernel (proc(5), `/proc/net/tcp`: 01 stands for `ESTABLISHED`).
fn given_out(listener: SocketAddr) -> usize {
    let at_once = (0..20).filter(|_| {
        let silent = std::net::TcpStream::connect(listener).expect("a connection");
        let client = silent.local_addr().expect("an address");
        let ends = format!(
            ":{:04X} 0100007F:{:04X} 01 ",
            listener.port(),
            client.port()
        );
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's sockets");
        sockets.contains(&ends)
    });
    at_once.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_accepted_with_their_first_bytes_where_clients_begin() {
    let upstream = Upstream::hearing_out("heard").await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let begins = [
        documents::listener("web"),
        documents::cluster("up", upstream.address),
        documents::respond("r", "/", "here"),
    ];
    let mut passed_on = documents::listener("web");
    passed_on.as_object_mut().expect("an object").remove("http");
    passed_on["tcp"] = json!({"clusters": [{"name": "up"}]});
    server.client().commit_live(&begins, 1).await;
    let web = proxy.listener("web").await;
    assert_eq!(given_out(web), 0);
    server.client().commit_live(&[passed_on], 1).await;
    assert_eq!(proxy.listener("web").await, web, "the socket stays");
    assert!(given_out(web) > 10, "an upstream may have to begin");
    let mut relayed = TcpStream::connect(web).await.expect("a connection");
    relayed.write_all(b"word").await.expect("sent");
    relayed.shutdown().await.expect("the end");
    let mut answer = String::new();
    relayed.read_to_string(&mut answer).await.expect("answered");
    assert_eq!(answer, "heard: word");
    server.client().commit_live(&begins[..1], 1).await;
    assert_eq!(given_out(web), 0);
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    assert_eq!(ask(&mut stream, GET).await, (200, "here".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_proxy_finishes_what_is_in_flight_and_exits_cleanly() {
    let (_server, mut proxy, release, web) = serving_slowly(&[]).await;
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    stream.write_all(GET.as_bytes()).await.expect("sent");
    in_flight(&proxy).await;
    proxy.terminate();
    let ready = format!("http://{}/readyz", proxy.admin);
    eventually("it is stopping", async || {
        let answer = reqwest::get(&ready).await;
        (!answer.is_ok_and(|answer| answer.status().is_success())).then_some(())
    })
    .await;
    release.send(()).expect("a request that waits");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("finished"),
        "{answer}"
    );
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(proxy.ended(Duration::from_secs(10)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_proxy_sends_goaway_and_finishes_the_streams_that_are_open() {
    let (_server, mut proxy, release, web) = serving_slowly(&[]).await;
    let stream = TcpStream::connect(web).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.expect("room for a stream");
    let request = http::Request::get(format!("http://{web}/"))
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("a stream");
    in_flight(&proxy).await;

    proxy.terminate();
    let mut more = client;
    let error = eventually("it is told to go away", async || {
        match more.clone().ready().await {
            Ok(ready) => {
                more = ready;
                None
            }
            Err(error) => Some(error),
        }
    })
    .await;
    assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR), "{error}");
    release.send(()).expect("a request that waits");
    let response = response.await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let mut body = response.into_body();
    assert_eq!(
        &body.data().await.expect("data").expect("whole")[..],
        b"finished"
    );
    drop((body, more));
    connection.await.expect("no panic").expect("an orderly end");
    assert_eq!(proxy.ended(Duration::from_secs(10)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_cut_off_when_the_time_to_drain_is_over() {
    let flags = ["--drain-timeout", "50ms"];
    let (_server, mut proxy, _release, web) = serving_slowly(&flags).await;
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    stream.write_all(GET.as_bytes()).await.expect("sent");
    in_flight(&proxy).await;
    proxy.terminate();
    assert_eq!(proxy.ended(Duration::from_secs(10)).await, Some(0));
    let mut rest = String::new();
    // An end or a reset, but no answer.
    let _ = stream.read_to_string(&mut rest).await;
    assert_eq!(rest, "");
}
