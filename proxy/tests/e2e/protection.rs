//! What a proxy does against clients that mean harm.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Proxy, Server, Upstream, ask, documents, eventually, exchange};

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n")
}

/// The resources of a documentation page, with its addresses replaced.
fn of_page(page: &str, places: &[(&str, String)]) -> Vec<Value> {
    let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).expect("the page");
    let yaml = text
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let yaml = places
        .iter()
        .fold(yaml.expect("a block").to_owned(), |text, (from, to)| {
            text.replace(from, to)
        });
    let format = fleetway_api::document::Format::Yaml;
    fleetway_api::document::parse(&yaml, format).expect("documents")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_about_protection_does_what_it_says() {
    let echo = Upstream::echo().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let places = [
        ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
        ("10.0.0.1:8080", echo.address.to_string()),
    ];
    server
        .client()
        .commit_live(&of_page("protection.md", &places), 1)
        .await;
    let edge = proxy.listener("edge").await;

    let kept = exchange(edge, &get("/a/%2e%2E//b%2fc?q=%2f", "")).await;
    assert!(kept.contains("\nGET /b%2Fc?q=%2f\n"), "{kept}");
    for path in ["/..", "/a%00", "/a/..;x/b", "/a%zz"] {
        let refused = exchange(edge, &get(path, "")).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{path}: {refused}");
    }
    let fields = "x_a: 1\r\nx-forwarded-for: 6.6.6.6, 7.7.7.7\r\nx-forwarded-proto: https\r\n";
    let passed = exchange(edge, &get("/", fields)).await;
    assert!(
        passed.contains("\nx-forwarded-for: 7.7.7.7, 127.0.0.1\n"),
        "{passed}"
    );
    assert!(passed.contains("\nx-forwarded-proto: https\n"), "{passed}");
    assert!(!passed.contains("x_a"), "{passed}");

    let long = format!("/{}", "a".repeat(5000));
    let many = "x: y\r\n".repeat(70);
    let large = format!("x: {}\r\n", "y".repeat(20_000));
    for (request, status) in [
        (get(&long, ""), "414"),
        (get("/", &many), "431"),
        (get("/", &large), "431"),
    ] {
        let refused = exchange(edge, &request).await;
        assert!(
            refused.starts_with(&format!("HTTP/1.1 {status} ")),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asked_for_is_refused_by_default() {
    let echo = Upstream::echo().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [
        documents::listener("web"),
        documents::cluster("echo", echo.address),
        documents::forward("all", "/", "echo"),
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    for (path, fields) in [
        ("/a%2fb", ""),
        ("/a\\b", ""),
        ("/", "x_forwarded_for: 6.6.6.6\r\n"),
    ] {
        let refused = exchange(web, &get(path, fields)).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{path}: {refused}");
    }
    let passed = exchange(
        web,
        &get(
            "/",
            "x-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\n",
        ),
    )
    .await;
    assert!(
        passed.contains("\nx-forwarded-for: 127.0.0.1\n"),
        "{passed}"
    );
    assert!(!passed.contains("6.6.6.6"), "{passed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_longer_than_its_route_takes_is_refused_with_and_without_a_length() {
    let echo = Upstream::echo().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut route = documents::forward("all", "/", "echo");
    route["forward"]["max_request_body_bytes"] = json!(1000);
    let all = [
        documents::listener("web"),
        documents::cluster("echo", echo.address),
        route,
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;

    let post = |fields: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n\r\n{body}")
    };
    let (fits, more) = ("a".repeat(1000), "a".repeat(1001));
    let chunked = |body: &str| {
        post(
            "transfer-encoding: chunked",
            &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        )
    };
    let plain = |body: &str| post(&format!("content-length: {}", body.len()), body);
    for (request, status) in [
        (plain(&fits), "200"),
        (plain(&more), "413"),
        (chunked(&fits), "200"),
        (chunked(&more), "413"),
        // Not one byte of it is sent for.
        (
            post("content-length: 5000\r\nexpect: 100-continue", ""),
            "413",
        ),
    ] {
        let answer = exchange(web, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_the_places_of_those_that_went_are_free_again() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut listener = documents::listener("web");
    listener["limits"] = json!({"max_connections_per_source": 2});
    listener["http"]["limits"] = json!({"max_requests_per_connection": 2});
    let all = [listener, documents::respond("hello", "/", "hello")];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let open = async || {
        let mut stream = TcpStream::connect(web).await.expect("a connection");
        assert_eq!(ask(&mut stream, request).await.0, 200);
        stream
    };
    let (mut one, _two) = (open().await, open().await);
    assert!(is_refused(web).await);
    // Its second request is its last.
    assert_eq!(ask(&mut one, request).await.0, 200);
    assert_eq!(one.read(&mut [0; 1]).await.expect("an end"), 0);
    eventually("the place is free", async || {
        (!is_refused(web).await).then_some(())
    })
    .await;
    let (_, metrics) = proxy.page("/metrics").await;
    assert!(metrics.contains("fleetway_listener_connections_refused_total{listener=\"web\"}"));
}

/// Whether a connection is closed before its request is answered.
async fn is_refused(web: SocketAddr) -> bool {
    // The reset may come before the connection is known to be made.
    let Ok(mut stream) = TcpStream::connect(web).await else {
        return true;
    };
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 1];
    sent.is_err() || !matches!(stream.read(&mut answer).await, Ok(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_left_connections_are_refused_and_counted() {
    let server = Server::start().await;
    let proxy = Proxy::with(&server, "p1", "blue", &["--memory-limit", "1MiB"]).await;
    let all = [
        documents::listener("web"),
        documents::respond("hello", "/", "hello"),
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    eventually("load is shed", async || is_refused(web).await.then_some(())).await;
    let (_, metrics) = proxy.page("/metrics").await;
    assert!(
        metrics.contains("fleetway_memory_limit_bytes 1048576"),
        "{metrics}"
    );
}
