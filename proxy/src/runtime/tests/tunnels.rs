//! What goes through a tunnel, byte by byte, and how it ends.

use std::io::ErrorKind;

use bytes::Bytes;
use h2::ext::Protocol;

use super::*;
use crate::http1::websocket;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn asks(fields: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n{fields}\r\n"
    )
}

const SWITCHES: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// A proxy that sends everything to a cluster with these settings.
async fn started(cluster: &str, route: &str) -> (Arc<Runtime>, SocketAddr, TcpListener) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = socket.local_addr().unwrap();
    let yaml = format!(
        "{WEB}{{kind: Cluster, name: a, {cluster} endpoints: [{{address: '{backend}'}}]}}\n---\n\
         {{kind: Route, name: r, forward: {{{route} clusters: [{{name: a}}]}}}}"
    );
    let runtime = Arc::new(Runtime::start(1).unwrap());
    apply(&runtime, 1, &yaml).await.unwrap();
    let at = address(&runtime, "web");
    (runtime, at, socket)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Both far ends of a tunnel: by an upgrade, or by CONNECT.
async fn tunnel(at: SocketAddr, socket: &TcpListener, connect: bool) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(at).await.unwrap();
    let request = match connect {
        true => "CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n".to_owned(),
        false => asks(""),
    };
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut upstream, _) = socket.accept().await.unwrap();
    if !connect {
        head(&mut upstream).await;
        upstream.write_all(SWITCHES).await.unwrap();
    }
    let answer = head(&mut client).await;
    assert!(answer.starts_with(if connect {
        "HTTP/1.1 200 "
    } else {
        "HTTP/1.1 101 "
    }));
    (client, upstream)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| place.wrapping_mul(31).to_le_bytes()[1] ^ place.to_le_bytes()[0])
        .collect()
}

/// Sends all of `bytes` and an end while all that comes is read.
async fn exchange(stream: TcpStream, bytes: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut all = Vec::new();
    read.read_to_end(&mut all).await.unwrap();
    sending.await.unwrap();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_through_both_ways_to_the_byte() {
    for connect in [false, true] {
        let (_runtime, at, socket) = started("", "connect: true,").await;
        let (client, upstream) = tunnel(at, &socket, connect).await;
        let (up, down) = (pattern(9_000_001), pattern(12_000_003));
        let (got_down, got_up) = tokio::join!(
            exchange(client, up.clone()),
            exchange(upstream, down.clone())
        );
        assert!(got_up == up && got_down == down);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_one_piece_with_the_heads_goes_first() {
    let (_runtime, at, socket) = started("", "").await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let early = pattern(5_000);
    let both = [asks("").as_bytes(), &early].concat();
    client.write_all(&both).await.unwrap();
    let (mut upstream, _) = socket.accept().await.unwrap();
    head(&mut upstream).await;
    let greeting = pattern(3_001);
    let both = [SWITCHES, &greeting].concat();
    upstream.write_all(&both).await.unwrap();
    head(&mut client).await;
    let (late_up, late_down) = (pattern(300_000), pattern(200_000));
    let (down, up) = tokio::join!(
        exchange(client, late_up.clone()),
        exchange(upstream, late_down.clone())
    );
    assert!(up == [early, late_up].concat());
    assert!(down == [greeting, late_down].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_goes_one_way_and_a_reset_ends_both_in_resets() {
    for connect in [false, true] {
        let (_runtime, at, socket) = started("", "connect: true,").await;
        let (mut client, mut upstream) = tunnel(at, &socket, connect).await;
        client.write_all(b"last words").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        upstream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
        upstream.write_all(b"still heard").await.unwrap();
        drop(upstream);
        heard.clear();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"still heard");

        for by_client in [true, false] {
            let (client, upstream) = tunnel(at, &socket, connect).await;
            let (broken, mut other) = match by_client {
                true => (client, upstream),
                false => (upstream, client),
            };
            broken.set_zero_linger().unwrap();
            drop(broken);
            let error = other.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_without_a_byte_for_the_time_of_its_route_is_reset_on_both_sides() {
    let (_runtime, at, socket) = started("", "tunnel_idle_timeout: 100ms,").await;
    let (mut client, mut upstream) = tunnel(at, &socket, false).await;
    for end in [&mut client, &mut upstream] {
        let error = end.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_needs_the_accept_of_its_key() {
    let (_runtime, at, socket) = started("", "").await;
    let right = format!(
        "sec-websocket-accept: {}\r\n",
        websocket::accept(KEY.as_bytes())
    );
    let of_another = format!(
        "sec-websocket-accept: {}\r\n",
        websocket::accept(b"another")
    );
    for (accept, status) in [
        (right.clone(), 101),
        (of_another, 502),
        (String::new(), 502),
        (right.repeat(2), 502),
    ] {
        let mut client = TcpStream::connect(at).await.unwrap();
        let request = asks(&format!("sec-websocket-key: {KEY}\r\n"));
        client.write_all(request.as_bytes()).await.unwrap();
        let (mut upstream, _) = socket.accept().await.unwrap();
        head(&mut upstream).await;
        let answer = String::from_utf8(SWITCHES.to_vec()).unwrap();
        let answer = answer.replace("\r\n\r\n", &format!("\r\n{accept}\r\n"));
        upstream.write_all(answer.as_bytes()).await.unwrap();
        let answer = head(&mut client).await;
        let line = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&line), "{accept}: {answer}");
        if status != 101 {
            assert_eq!(upstream.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed");
        }
    }
}

/// The next request on a connection of HTTP/2 from the proxy, which takes tunnels if so.
async fn http2(
    socket: &TcpListener,
    tunnels: bool,
) -> (
    http::Request<h2::RecvStream>,
    h2::server::SendResponse<Bytes>,
) {
    let (stream, _) = socket.accept().await.unwrap();
    let mut builder = h2::server::Builder::new();
    if tunnels {
        builder.enable_connect_protocol();
    }
    let mut connection = builder.handshake(stream).await.unwrap();
    let (give, take) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut give = Some(give);
        while let Some(Ok(request)) = connection.accept().await {
            if let Some(give) = give.take() {
                drop(give.send(request));
            }
        }
    });
    take.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_over_http2_is_an_extended_connect() {
    let (_runtime, at, socket) = started("protocol: HTTP2,", "").await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let fields = format!("sec-websocket-key: {KEY}\r\nsec-websocket-protocol: chat\r\n");
    let early = asks(&fields) + "early ";
    client.write_all(early.as_bytes()).await.unwrap();
    let (request, mut respond) = http2(&socket, true).await;
    let (parts, mut body) = request.into_parts();
    assert_eq!(parts.method, "CONNECT");
    assert_eq!(parts.uri, "http://x/chat");
    let protocol = parts.extensions.get::<Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert_eq!(parts.headers["sec-websocket-protocol"], "chat");
    for gone in ["upgrade", "connection", "sec-websocket-key", "host"] {
        assert!(!parts.headers.contains_key(gone), "{gone}");
    }
    let answer = http::Response::builder().header("sec-websocket-protocol", "chat");
    let mut send = respond
        .send_response(answer.body(()).unwrap(), false)
        .unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    for field in [
        "upgrade: websocket\r\n",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "sec-websocket-protocol: chat\r\n",
    ] {
        assert!(answer.contains(field), "{answer}");
    }

    // Bytes both ways, more than fits a window, and an end each.
    let up = pattern(1_000_000);
    let sending = tokio::spawn(exchange(client, up.clone()));
    send.send_data("greeting".into(), true).unwrap();
    let mut got = Vec::new();
    while let Some(some) = body.data().await {
        let some = some.unwrap();
        body.flow_control().release_capacity(some.len()).unwrap();
        got.extend_from_slice(&some);
    }
    assert!(got == [b"early ", &up[..]].concat());
    assert_eq!(sending.await.unwrap(), b"greeting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_over_http2_that_breaks_is_reset_on_the_other_side() {
    for by_client in [true, false] {
        let (_runtime, at, socket) = started("protocol: HTTP2,", "").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(asks("").as_bytes()).await.unwrap();
        let (request, mut respond) = http2(&socket, true).await;
        let mut send = respond
            .send_response(http::Response::new(()), false)
            .unwrap();
        head(&mut client).await;
        if by_client {
            client.set_zero_linger().unwrap();
            drop(client);
            let error = request.into_body().data().await.unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
        } else {
            send.send_reset(h2::Reason::CANCEL);
            let error = client.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_http2_cannot_carry_is_refused_in_words() {
    for (tunnels, request) in [
        (false, asks("")),
        (true, asks("").replace("GET", "POST")),
        (true, asks("content-length: 4\r\n") + "body"),
    ] {
        let (_runtime, at, socket) = started("protocol: HTTP2,", "").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let _upstream = tokio::spawn(async move { http2(&socket, tunnels).await.0 });
        let answer = head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        let mut text = [0; 42];
        client.read_exact(&mut text).await.unwrap();
        assert_eq!(text, *b"upstream takes no such upgrade over HTTP/2");
    }

    // Its own answer is passed on.
    let (_runtime, at, socket) = started("protocol: HTTP2,", "").await;
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(asks("").as_bytes()).await.unwrap();
    let (_request, mut respond) = http2(&socket, true).await;
    let answer = http::Response::builder().status(403).body(()).unwrap();
    let mut send = respond.send_response(answer, false).unwrap();
    send.send_data("not here".into(), true).unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_http2_is_reset_and_resets() {
    for by_client in [true, false] {
        let (_runtime, at, socket) = started("", "connect: true,").await;
        let stream = TcpStream::connect(at).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::connect("x:1").body(()).unwrap();
        let (answer, mut send) = client.send_request(request, false).unwrap();
        let (mut upstream, _) = socket.accept().await.unwrap();
        let mut body = answer.await.unwrap().into_body();
        if by_client {
            send.send_reset(h2::Reason::CANCEL);
            let error = upstream.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        } else {
            upstream.set_zero_linger().unwrap();
            drop(upstream);
            let error = body.data().await.unwrap().unwrap_err();
            assert!(error.is_reset(), "{error}");
        }
    }
}
