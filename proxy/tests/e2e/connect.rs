//! CONNECT over both versions of HTTP, and the extended one that is WebSocket over HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::SendRequest, ext::Protocol};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{Peer, Proxy, Server, Upstream, ask, curl, documents};

/// A proxy that takes CONNECT to `tunnel.example` only and sends everything else to `upstream` too.
async fn proxy(upstream: SocketAddr) -> (Server, Proxy, SocketAddr) {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let tunnel = json!({
        "kind": "Route", "name": "tunnel",
        "match": {"hosts": ["tunnel.example"], "methods": ["CONNECT"]},
        "forward": {"clusters": [{"name": "up"}], "connect": true},
    });
    let all = [
        documents::listener("web"),
        documents::cluster("up", upstream),
        documents::forward("default", "/", "up"),
        tunnel,
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    (server, proxy, web)
}

/// A client of HTTP/2, once the proxy's settings are there.
async fn http2(web: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(web).await.expect("a connection");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut send = send.ready().await.expect("ready");
    // An answer comes after the settings.
    let hello = Request::get("http://a/hello").body(()).expect("a request");
    let (answer, _) = send.send_request(hello, true).expect("sent");
    answer.await.expect("an answer");
    send
}

async fn open(
    send: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> (StatusCode, HeaderMap, SendStream<Bytes>, RecvStream) {
    let (answer, body) = send.send_request(request, false).expect("sent");
    let (head, read) = answer.await.expect("an answer").into_parts();
    (head.status, head.headers, body, read)
}

fn connect(authority: &str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri(authority);
    request.body(()).expect("a request")
}

fn websocket(uri: &str) -> Request<()> {
    let mut request = connect(uri);
    let fields = request.headers_mut();
    fields.insert("sec-websocket-version", "13".parse().expect("a value"));
    fields.insert("sec-websocket-protocol", "chat".parse().expect("a value"));
    let protocol = Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    request
}

async fn read(stream: &mut RecvStream, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let some = stream.data().await.expect("more").expect("data");
        let _ = stream.flow_control().release_capacity(some.len());
        all.extend_from_slice(&some);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_refused_where_no_route_takes_it() {
    let upstream = Upstream::named("up").await;
    let (_server, _proxy, web) = proxy(upstream.address).await;
    let mut client = TcpStream::connect(web).await.expect("a connection");
    let request = "CONNECT other.example:1 HTTP/1.1\r\nhost: tunnel.example\r\n\r\n";
    let (status, text) = ask(&mut client, request).await;
    assert_eq!(status, 405);
    assert!(text.contains("CONNECT is not allowed here"), "{text}");
    let mut client = http2(web).await;
    let (status, _, _, mut body) = open(&mut client, connect("other.example:1")).await;
    assert_eq!(status, 405);
    let text = read(&mut body, 10).await;
    assert!(text.starts_with(b"CONNECT is not allowed"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_a_tunnel_to_the_routes_cluster() {
    let nginx = Peer::nginx(
        false,
        "location / { return 200 \"nginx $http_host $http_via\\n\"; }",
    );
    let nginx = nginx.await;
    let (_server, _proxy, web) = proxy(nginx.address).await;
    let web_url = format!("http://{web}");
    let url = "http://tunnel.example:1234/";
    let answer = curl(&["--proxytunnel", "--proxy", &web_url, url, url]).await;
    // What goes through a tunnel is not the proxy's to change.
    assert_eq!(answer, "nginx tunnel.example:1234 \n".repeat(2));

    let mut client = http2(web).await;
    let (status, _, mut send, mut body) = open(&mut client, connect("tunnel.example:1")).await;
    assert_eq!(status, 200);
    let request = "GET / HTTP/1.1\r\nhost: inner\r\nconnection: close\r\n\r\n";
    send.send_data(request.into(), true).expect("sent");
    let mut all = Vec::new();
    while let Some(some) = body.data().await {
        all.extend_from_slice(&some.expect("data"));
    }
    let text = String::from_utf8(all).expect("text");
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nServer: nginx"),
        "{text}"
    );
    assert!(text.ends_with("nginx inner \n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_over_http2_is_an_upgrade_upstream() {
    let peer = Peer::python("websocket_server.py", &[]).await;
    let (_server, _proxy, web) = proxy(peer.address).await;
    let mut client = http2(web).await;
    assert!(client.is_extended_connect_protocol_enabled());
    let (status, fields, mut send, mut body) = open(&mut client, websocket("http://a/chat")).await;
    assert_eq!(status, 200, "{fields:?}");
    assert_eq!(fields["sec-websocket-protocol"], "chat");
    for gone in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!fields.contains_key(gone), "{fields:?}");
    }
    // A text frame, masked with zeros, comes back unmasked.
    send.send_data(Bytes::from_static(b"\x81\x85\0\0\0\0hello"), false)
        .expect("sent");
    assert_eq!(read(&mut body, 7).await, b"\x81\x05hello");
    // So does the close, after which the server ends and the stream does.
    send.send_data(Bytes::from_static(b"\x88\x82\0\0\0\0\x03\xe8"), false)
        .expect("sent");
    assert_eq!(read(&mut body, 4).await, b"\x88\x02\x03\xe8");
    while let Some(end) = body.data().await {
        assert_eq!(end.expect("an end"), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_without_a_switch_is_none_over_http2() {
    let upstream = Upstream::named("a page").await;
    let (_server, _proxy, web) = proxy(upstream.address).await;
    let mut client = http2(web).await;
    let mut asked = websocket("http://a/page");
    // What asks for a tunnel is no call, for which each answer would be a success.
    let grpc = "application/grpc".parse().expect("a value");
    asked.headers_mut().insert("content-type", grpc);
    for request in [websocket("http://a/page"), asked] {
        let (status, fields, _, mut body) = open(&mut client, request).await;
        assert_eq!(status, 502);
        assert!(fields.contains_key("x-request-id"), "{fields:?}");
        let text = read(&mut body, 41).await;
        assert_eq!(text, b"the upstream did not change the protocol\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_with_content_is_refused_and_the_connection_goes_on() {
    let upstream = Upstream::named("a page").await;
    let (_server, _proxy, web) = proxy(upstream.address).await;
    let mut client = http2(web).await;
    let mut request = connect("tunnel.example:1");
    let length = "5".parse().expect("a value");
    request.headers_mut().insert("content-length", length);
    let (answer, _body) = client.send_request(request, false).expect("sent");
    let refused = answer.await.expect_err("a reset");
    assert_eq!(refused.reason(), Some(Reason::PROTOCOL_ERROR));
    let hello = Request::get("http://a/hello").body(()).expect("a request");
    let (answer, _) = client.send_request(hello, true).expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_is_reset_is_reset_upstream_even_where_that_has_ended() {
    let first = Upstream::named("a page").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (server, _proxy, web) = proxy(first.address).await;
    let mut client = http2(web).await;
    let end = listener.local_addr().expect("an address");
    let cluster = documents::cluster("up", end);
    server.client().commit_live(&[cluster], 1).await;
    let (answer, mut send) = client
        .send_request(connect("tunnel.example:1"), false)
        .expect("sent");
    let (mut upstream, _) = listener.accept().await.expect("a connection");
    let mut body = answer.await.expect("an answer").into_body();
    send.send_data(Bytes::from_static(b"x"), false)
        .expect("sent");
    assert_eq!(upstream.read_u8().await.expect("a byte"), b'x');
    upstream.shutdown().await.expect("its end");
    while let Some(end) = body.data().await {
        assert_eq!(end.expect("an end"), "");
    }
    send.send_reset(Reason::CANCEL);
    let cut = upstream.read_u8().await.expect_err("no byte");
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_ended_its_side_of_a_tunnel_may_still_give_it_up() {
    let first = Upstream::named("a page").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (server, _proxy, web) = proxy(first.address).await;
    let mut client = http2(web).await;
    let end = listener.local_addr().expect("an address");
    let cluster = documents::cluster("up", end);
    server.client().commit_live(&[cluster], 1).await;
    let (answer, mut send) = client
        .send_request(connect("tunnel.example:1"), false)
        .expect("sent");
    let (mut upstream, _) = listener.accept().await.expect("a connection");
    let _body = answer.await.expect("an answer").into_body();
    send.send_data(Bytes::from_static(b"x"), true)
        .expect("sent");
    let mut all = Vec::new();
    upstream.read_to_end(&mut all).await.expect("an end");
    assert_eq!(all, b"x");
    // The upstream says nothing, and there is nothing more to be read of the client.
    send.send_reset(Reason::CANCEL);
    // What is written to a connection that was reset comes back as an error, sooner or later.
    while upstream.write_all(b"y").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_over_http2_has_no_length() {
    let upstream = Upstream::raw(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\
          content-length: 0\r\n\r\nhello",
    );
    let upstream = upstream.await;
    let first = Upstream::named("a page").await;
    let (server, _proxy, web) = proxy(first.address).await;
    let mut client = http2(web).await;
    let cluster = documents::cluster("up", upstream.address);
    let chat = json!({
        "kind": "Route", "name": "chat", "match": {"path": {"exact": "/chat"}},
        "forward": {"clusters": [{"name": "up"}], "upgrades": {"protocols": ["chat"]}},
    });
    server.client().commit_live(&[cluster, chat], 1).await;
    let mut request = connect("http://a/chat");
    let protocol = Protocol::from_static("chat");
    request.extensions_mut().insert(protocol);
    let (status, fields, _send, mut body) = open(&mut client, request).await;
    assert_eq!(status, 200, "{fields:?}");
    assert!(!fields.contains_key("content-length"), "{fields:?}");
    assert_eq!(read(&mut body, 5).await, b"hello");
}
