//! Connections that leave HTTP for another protocol.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    Peer, Proxy, Server, Upstream, apply_page, ask, curl, documents, eventually, run_python,
};

/// A proxy with everything going to `upstream`, and the address it serves on.
async fn proxy(upstream: std::net::SocketAddr) -> (Server, Proxy, std::net::SocketAddr) {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [
        documents::listener("web"),
        documents::cluster("up", upstream),
        documents::forward("default", "/", "up"),
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    (server, proxy, web)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

const ASKS: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCHES: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_works_as_the_page_says() {
    let peer = Peer::python("websocket_server.py", &[]).await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let places = [("0.0.0.0:8080", any), ("10.0.0.1:8080", peer.address)];
    apply_page(&server, "upgrades.md", &places).await;
    let web = proxy.listener("web").await;
    for path in ["chat", "api"] {
        let url = format!("ws://{web}/{path}");
        let said = run_python("websocket_client.py", &[&url]).await;
        assert_eq!(said, "all was said back\n");
    }
    // Where upgrades are not allowed, the upstream is not asked for one.
    let url = format!("http://{web}/plain");
    let asks = [
        "--header",
        "Connection: Upgrade",
        "--header",
        "Upgrade: websocket",
    ];
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let answer = curl(&[&asks[..], &status[..], &[&url]].concat()).await;
    assert_eq!(answer, "426");
    eventually("both tunnels are counted as ended", async || {
        let (_, metrics) = proxy.page("/metrics").await;
        let all = metrics.contains("fleetway_listener_tunnels_total{listener=\"web\"} 2");
        let none = metrics.contains("fleetway_listener_tunnels_active{listener=\"web\"} 0");
        (all && none).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_goes_over_http2_between_two_proxies() {
    let peer = Peer::python("websocket_server.py", &[]).await;
    let of = async |upstream: std::net::SocketAddr, protocol: &str| {
        let mut cluster = documents::cluster("up", upstream);
        cluster["protocol"] = protocol.into();
        let all = [
            documents::listener("web"),
            cluster,
            documents::forward("default", "/", "up"),
        ];
        let texts = all.map(|document| document.to_string());
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("all.yaml"), texts.join("\n---\n")).expect("written");
        let proxy = Proxy::of_folder(folder.path()).await;
        let web = proxy.listener("web").await;
        (folder, proxy, web)
    };
    let (_inner_folder, _inner, inner) = of(peer.address, "HTTP1").await;
    let (_outer_folder, outer, web) = of(inner, "HTTP2").await;
    for _ in 0..2 {
        let said = run_python("websocket_client.py", &[&format!("ws://{web}/chat")]).await;
        assert_eq!(said, "all was said back\n");
    }
    eventually("both tunnels are counted as ended", async || {
        let (_, metrics) = outer.page("/metrics").await;
        let all = metrics.contains("fleetway_listener_tunnels_total{listener=\"web\"} 2");
        let none = metrics.contains("fleetway_listener_tunnels_active{listener=\"web\"} 0");
        (all && none).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_an_upgrade_reaches_the_upstream_after_its_101_only() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (_server, _proxy, web) = proxy(socket.local_addr().expect("an address")).await;
    let smuggled = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n";

    // Refused: what follows is a request of its own, told of and checked as any.
    let mut client = TcpStream::connect(web).await.expect("a connection");
    let both = format!("{ASKS}{smuggled}");
    client.write_all(both.as_bytes()).await.expect("sent");
    let (mut upstream, _) = socket.accept().await.expect("a connection");
    let first = head(&mut upstream).await;
    assert!(first.starts_with("GET /chat HTTP/1.1\r\n"), "{first}");
    assert!(first.contains("upgrade: websocket\r\n"), "{first}");
    let refusal = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno";
    upstream.write_all(refusal).await.expect("sent");
    let second = head(&mut upstream).await;
    assert!(second.starts_with("GET /admin HTTP/1.1\r\n"), "{second}");
    assert!(second.contains("via: 1.1 fleetway\r\n"), "{second}");
    assert!(!second.contains("upgrade"), "{second}");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
    upstream.write_all(answer).await.expect("sent");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 426 "));
    let mut body = [0; 2];
    client.read_exact(&mut body).await.expect("a body");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    drop((client, upstream));

    // Accepted: it is the other protocol's, byte for byte, and so is what came with the 101.
    let mut client = TcpStream::connect(web).await.expect("a connection");
    client.write_all(both.as_bytes()).await.expect("sent");
    let (mut upstream, _) = socket.accept().await.expect("a connection");
    head(&mut upstream).await;
    let greeting = [SWITCHES, b"greeting"].concat();
    upstream.write_all(&greeting).await.expect("sent");
    let mut raw = vec![0; smuggled.len()];
    upstream.read_exact(&mut raw).await.expect("bytes");
    assert_eq!(raw, smuggled.as_bytes());
    let answer = head(&mut client).await;
    assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
    // An end goes one way only.
    upstream.shutdown().await.expect("ended");
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.expect("bytes");
    assert_eq!(rest, "greeting");
    client.write_all(b"still here").await.expect("sent");
    drop(client);
    rest.clear();
    upstream.read_to_string(&mut rest).await.expect("bytes");
    assert_eq!(rest, "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_not_allowed_or_not_well_asked_is_not_passed_on() {
    let echo = Upstream::echo().await;
    let (_server, _proxy, web) = proxy(echo.address).await;
    let request =
        |version: &str, fields: &str| format!("GET / HTTP/{version}\r\nhost: a\r\n{fields}\r\n");
    for request in [
        request(
            "1.1",
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        ),
        request("1.1", "connection: upgrade\r\nupgrade: other\r\n"),
        request("1.1", "connection: upgrade\r\nupgrade: websocket/2\r\n"),
        request("1.1", "upgrade: websocket\r\n"),
        request("1.1", "connection: upgrade\r\n"),
        request(
            "1.0",
            "connection: upgrade, keep-alive\r\nupgrade: websocket\r\n",
        ),
    ] {
        let mut client = TcpStream::connect(web).await.expect("a connection");
        let (status, text) = ask(&mut client, &request).await;
        assert_eq!(status, 200, "{request}");
        assert!(!text.contains("upgrade"), "{request}\n{text}");
        assert!(!text.contains("settings"), "{request}\n{text}");
    }
    // Of several, only what is allowed is asked for.
    let mut client = TcpStream::connect(web).await.expect("a connection");
    let several = request("1.1", "connection: upgrade\r\nupgrade: h2c, WebSocket\r\n");
    let (_, text) = ask(&mut client, &several).await;
    assert!(text.contains("\nupgrade: WebSocket\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_101_nobody_asked_for_is_a_bad_gateway() {
    for (request, answer) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", SWITCHES),
        (
            ASKS,
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        ),
        (ASKS, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let upstream = Upstream::stalling(answer).await;
        let (_server, _proxy, web) = proxy(upstream.address).await;
        let mut client = TcpStream::connect(web).await.expect("a connection");
        let (status, _) = ask(&mut client, request).await;
        assert_eq!(status, 502, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_and_curl_go_on_with_http_where_there_is_no_switch() {
    let nginx = Peer::nginx(
        false,
        "location / { return 200 \"nginx $http_upgrade\\n\"; }",
    )
    .await;
    let (_server, _proxy, web) = proxy(nginx.address).await;
    let url = format!("http://{web}/");
    let asks = [
        "--header",
        "Connection: Upgrade",
        "--header",
        "Upgrade: websocket",
    ];
    // Twice over one connection.
    let answer = curl(&[&asks[..], &[&url, &url]].concat()).await;
    assert_eq!(answer, "nginx websocket\nnginx websocket\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_lives_through_a_drain_and_ends_with_its_time() {
    let upstream = Upstream::stalling(SWITCHES).await;
    let server = Server::start().await;
    let mut proxy = Proxy::with(&server, "p1", "blue", &["--drain-timeout", "300ms"]).await;
    let all = [
        documents::listener("web"),
        documents::cluster("up", upstream.address),
        documents::forward("default", "/", "up"),
    ];
    server.client().commit_live(&all, 1).await;
    let mut client = TcpStream::connect(proxy.listener("web").await)
        .await
        .expect("a connection");
    client.write_all(ASKS.as_bytes()).await.expect("sent");
    head(&mut client).await;
    let began = std::time::Instant::now();
    proxy.terminate();
    // It was cut off, and does not look whole.
    let error = client.read_u8().await.expect_err("no byte");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(began.elapsed() >= Duration::from_millis(300), "not before");
    assert_eq!(proxy.ended(Duration::from_secs(10)).await, Some(0));
}
