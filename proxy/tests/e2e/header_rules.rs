//! Header fields are changed as the page says, over every protocol.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    Peer, Proxy, Server, Upstream, answered, apply_page, curl, documents, run_python,
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Answers with the request as it came, and with fields that rules may want to go.
async fn echo() -> Upstream {
    Upstream::answering(|head, body| {
        let mut text = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
        }
        text += &String::from_utf8_lossy(&body);
        http::Response::builder()
            .header("server", "echo/1")
            .header("cache-control", "public")
            .header("x-kept", "1")
            .body(text)
            .expect("a response")
    })
    .await
}

/// A GET by curl of a version of HTTP: the head of the answer, and what the upstream was sent.
async fn get(version: &str, url: &str, fields: &[&str]) -> (String, String) {
    let mut args = vec![version, "--include"];
    args.extend(fields.iter().flat_map(|field| ["--header", field]));
    args.push(url);
    let answer = curl(&args).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase() + "\r\n", body.to_owned())
}

/// The values of a field, in order.
fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(other, _)| *other == name)
        .map(|(_, value)| value)
        .collect()
}

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_the_page_hold_over_http1_and_http2() {
    let upstream = echo().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let places = [("0.0.0.0:8080", ANY), ("10.0.0.1:8080", upstream.address)];
    apply_page(&server, "headers.md", &places).await;
    let web = proxy.listener("web").await;
    // What the client says of the fields plays no part, as options of its connection neither.
    let fields = [
        "X-Edge: mine",
        "X-Team: mine",
        "X-Tag: mine",
        "Cookie: a=1",
        "Connection: x-edge, x-team, x-tag",
    ];
    for version in VERSIONS {
        let of_version = if version == VERSIONS[0] { 5 } else { 4 };
        let url = format!("http://{web}/shop/7");
        let (head, sent) = get(version, &url, &fields[..of_version]).await;
        assert_eq!(values(&sent, "x-edge"), ["eu-1"], "{sent}");
        assert_eq!(values(&sent, "x-team"), ["checkout"], "{sent}");
        let tags: &[&str] = match of_version {
            5 => &["shop"],
            _ => &["mine", "shop"],
        };
        assert_eq!(values(&sent, "x-tag"), tags, "{sent}");
        assert_eq!(values(&sent, "cookie"), [""; 0], "{sent}");
        assert_eq!(
            values(&head, "strict-transport-security"),
            ["max-age=31536000"]
        );
        assert_eq!(values(&head, "cache-control"), ["no-store"], "{head}");
        assert_eq!(values(&head, "server"), [""; 0], "{head}");
        assert_eq!(values(&head, "x-kept"), ["1"], "{head}");

        // What the proxy says itself.
        let (head, _) = get(version, &format!("http://{web}/old/7"), &[]).await;
        assert!(head.contains(" 302"), "{head}");
        assert_eq!(values(&head, "strict-transport-security"), ["max-age=60"]);
        let (head, _) = get(version, &format!("http://{web}/else"), &[]).await;
        assert!(head.contains(" 404"), "{head}");
        assert_eq!(
            values(&head, "strict-transport-security"),
            ["max-age=31536000"]
        );
        assert_eq!(values(&head, "cache-control"), [""; 0], "{head}");
    }

    // Where nobody answers for a route its rules hold all the same.
    let mut gone = documents::forward("gone", "/gone", "gone");
    gone["response_headers"] = json!({"set": [{"name": "cache-control", "value": "no-store"}]});
    let cluster = json!({"kind": "Cluster", "name": "gone"});
    server.client().commit_live(&[cluster, gone], 1).await;
    let (head, _) = get(VERSIONS[0], &format!("http://{web}/gone"), &[]).await;
    assert!(head.contains(" 503 "), "{head}");
    assert_eq!(values(&head, "cache-control"), ["no-store"], "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pose_as_no_field_that_a_rule_changes() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let upstream = Upstream::trailed().await;
    let mut route = documents::forward("r", "/", "up");
    route["request_headers"] = json!({
        "set": [{"name": "x-user", "value": "alice"}],
        "remove": ["x-role"],
    });
    let all = [
        documents::listener("web"),
        documents::cluster("up", upstream.address),
        route,
    ];
    server.client().commit_live(&all, 1).await;
    let mut stream = TcpStream::connect(proxy.listener("web").await)
        .await
        .expect("a connection");
    let request = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nok\r\n0\r\nX-User: mallory\r\nx-role: admin\r\nx-sum: 7\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (status, said) = answered(&mut stream).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said, "x-user: alice\nbody: ok\ntrailer x-sum: 7\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_calls_have_their_fields_changed() {
    let peer = Peer::python("grpc_server.py", &[]).await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut cluster = documents::cluster("up", peer.address);
    cluster["protocol"] = "HTTP2".into();
    let mut route = documents::forward("r", "/", "up");
    route["request_headers"] = json!({"set": [{"name": "x-user", "value": "alice"}]});
    route["response_headers"] = json!({"add": [{"name": "x-served", "value": "here"}]});
    let mut gone = documents::forward("gone", "/gone.Gone", "gone");
    gone["response_headers"] = route["response_headers"].clone();
    let all = [
        documents::listener("web"),
        cluster,
        json!({"kind": "Cluster", "name": "gone"}),
        route,
        gone,
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await.to_string();
    let said = run_python("grpc_fields.py", &[&web]).await;
    assert_eq!(said, "alice, here\nUNAVAILABLE, here\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_cannot_be_are_refused_with_their_fields() {
    let server = Server::start().await;
    let rest = server.client();
    let refused = |document: Value, field: &'static str| {
        let rest = rest.clone();
        async move {
            let (status, answer) = rest
                .try_transaction(&[document], &[])
                .await
                .expect("an answer");
            assert_eq!(status, 422, "{answer:#}");
            assert!(answer.to_string().contains(field), "{answer:#}");
        }
    };
    let mut redirect = documents::respond("r", "/", "hello");
    redirect["request_headers"] = json!({"remove": ["cookie"]});
    refused(redirect, "\"request_headers\"").await;
    let mut framing = documents::respond("r", "/", "hello");
    framing["response_headers"] = json!({"set": [{"name": "Content-Length", "value": "1"}]});
    refused(framing, "response_headers.set[0].name").await;
    let mut host = documents::listener("web");
    host["http"]["request_headers"] = json!({"set": [{"name": "host", "value": "x"}]});
    refused(host, "http.request_headers.set[0].name").await;
}
