//! The PROXY protocol, on listeners and towards clusters.

use super::*;

/// An upstream that tells every connection the first line, or the first bytes, it was sent.
async fn telling(first: usize) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut read = vec![0; first];
                if first > 0 {
                    stream.read_exact(&mut read).await.unwrap();
                } else {
                    while !read.ends_with(b"\r\n") {
                        read.push(stream.read_u8().await.unwrap());
                    }
                }
                stream.write_all(&read).await.unwrap();
            });
        }
    });
    address
}

async fn started(yaml: &str) -> (Arc<Runtime>, SocketAddr) {
    let runtime = Arc::new(Runtime::start(1).unwrap());
    apply(&runtime, 1, yaml).await.unwrap();
    let at = address(&runtime, "web");
    (runtime, at)
}

fn web(settings: &str, protocol: &str) -> String {
    format!(
        "{{kind: Listener, name: web, address: '127.0.0.1:0', proxy_protocol: {{{settings}}}, {protocol}}}\n---\n"
    )
}

fn cluster(endpoint: SocketAddr, version: &str) -> String {
    format!(
        "{{kind: Cluster, name: a, endpoints: [{{address: '{endpoint}'}}], proxy_protocol: {version}}}\n---\n"
    )
}

const ROUTE: &str = "{kind: Route, name: r, forward: {clusters: [{name: a}]}}";

/// Sends these pieces, each by itself; all that comes back, and whether it ended in order.
async fn conversation(at: SocketAddr, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        if stream.write_all(piece).await.is_err() {
            return (Vec::new(), false);
        }
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).await;
    (answer, end.is_ok())
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n";

fn refused(runtime: &Runtime) -> u64 {
    let snapshot = runtime.snapshot();
    let counters = &snapshot.listeners.values().next().unwrap().counters;
    counters.shard(0).proxy_protocol_errors.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_header_is_the_one_the_upstream_is_told() {
    let yaml = web("", "http: {}")
        + &cluster(upstream("one").await, "PROXY_PROTOCOL_VERSION_UNSPECIFIED")
        + ROUTE;
    let (runtime, at) = started(&yaml).await;
    let whole = [HEADER, REQUEST].concat();
    let cut: Vec<&[u8]> = whole.chunks(7).collect();
    for pieces in [&[&whole[..]][..], &[HEADER, REQUEST], &cut] {
        let (answer, _) = conversation(at, pieces).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.contains("\"x-forwarded-for\": \"192.0.2.1\""),
            "{answer}"
        );
    }
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let (answer, _) = conversation(at, &[local, REQUEST]).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("\"x-forwarded-for\": \"127.0.0.1\""),
        "{answer}"
    );
    assert_eq!(refused(&runtime), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_valid_header_in_time_is_closed_and_counted() {
    let yaml = web("timeout: 100ms", "http: {}")
        + &cluster(upstream("one").await, "PROXY_PROTOCOL_VERSION_UNSPECIFIED")
        + ROUTE;
    let (runtime, at) = started(&yaml).await;
    let bad: [&[&[u8]]; 5] = [
        &[REQUEST],
        &[b"PROXY TCP4 nobody\r\n", REQUEST],
        &[b"PROXY TCP4 192.0"],
        &[b""],
        &[b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b12345678901"],
    ];
    for (count, pieces) in (1..).zip(bad) {
        let (answer, _) = conversation(at, pieces).await;
        assert_eq!(answer, b"", "{pieces:?}");
        assert_eq!(refused(&runtime), count, "{pieces:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_speaks_for_itself_or_not_at_all() {
    let rest = cluster(upstream("one").await, "PROXY_PROTOCOL_VERSION_UNSPECIFIED") + ROUTE;
    let there = "trusted: [192.0.2.0/24, '2001:db8::/32']";
    let (runtime, at) = started(&(web(there, "http: {}") + &rest)).await;
    assert_eq!(conversation(at, &[HEADER, REQUEST]).await.0, b"");
    assert_eq!(refused(&runtime), 1);

    let optional = format!("{there}, mode: OPTIONAL");
    let (_runtime, at) = started(&(web(&optional, "http: {}") + &rest)).await;
    let (answer, _) = conversation(at, &[HEADER, REQUEST]).await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "it is no request");
    let (answer, _) = conversation(at, &[REQUEST]).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("\"x-forwarded-for\": \"127.0.0.1\""),
        "{answer}"
    );

    let here = web("trusted: [127.0.0.1]", "http: {}") + &rest;
    let (_runtime, at) = started(&here).await;
    let (answer, _) = conversation(at, &[HEADER, REQUEST]).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_optional_a_connection_may_do_without() {
    let settings = "mode: OPTIONAL, timeout: 100ms";
    let yaml = web(settings, "http: {}")
        + &cluster(upstream("one").await, "PROXY_PROTOCOL_VERSION_UNSPECIFIED")
        + ROUTE;
    let (runtime, at) = started(&yaml).await;
    for (pieces, client) in [
        (&[HEADER, REQUEST][..], "192.0.2.1"),
        (&[REQUEST], "127.0.0.1"),
        // It begins as a header might.
        (
            &[
                &b"P"[..],
                &b"ROPFIND / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"[..],
            ],
            "127.0.0.1",
        ),
    ] {
        let (answer, _) = conversation(at, pieces).await;
        let answer = String::from_utf8(answer).unwrap();
        let want = format!("\"x-forwarded-for\": \"{client}\"");
        assert!(answer.contains(&want), "{answer}");
    }
    // One that waits to be spoken to gets its turn; one that stops half way does not.
    assert_eq!(conversation(at, &[b"PROXY"]).await.0, b"");
    assert_eq!(refused(&runtime), 1);
    let yaml = web(settings, "tcp: {clusters: [{name: a}]}") + &cluster(telling(0).await, "V1");
    let (_runtime, at) = started(&yaml).await;
    assert!(
        conversation(at, &[])
            .await
            .0
            .starts_with(b"PROXY TCP4 127.0.0.1 ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_told_which_client_a_relayed_connection_is_for() {
    let tcp = "tcp: {clusters: [{name: a}]}";
    let yaml = web("", tcp) + &cluster(telling(0).await, "V1");
    let (_runtime, at) = started(&yaml).await;
    assert_eq!(conversation(at, &[HEADER]).await.0, HEADER);

    let yaml = web("", tcp) + &cluster(telling(28).await, "V2");
    let (_runtime, at) = started(&yaml).await;
    let (told, _) = conversation(at, &[HEADER]).await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\x57\x08\xae";
    assert_eq!(told, v2);

    // Its own addresses, where it brought none.
    let plain = format!("{{kind: Listener, name: web, address: '127.0.0.1:0', {tcp}}}\n---\n");
    let (_runtime, at) = started(&(plain + &cluster(telling(0).await, "V1"))).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let own = stream.local_addr().unwrap().port();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    let want = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {}\r\n", at.port());
    assert_eq!(told, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_told_which_client_a_request_is_from_on_connections_of_its_own() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = socket.local_addr().unwrap();
    let yaml = web("mode: OPTIONAL", "http: {}") + &cluster(backend, "V1") + ROUTE;
    let (_runtime, at) = started(&yaml).await;
    // Each answers two requests of one client's connection, and is closed with that.
    let answering = tokio::spawn(async move {
        let mut lines = Vec::new();
        for requests in [2, 1] {
            let (mut stream, _) = socket.accept().await.unwrap();
            for _ in 0..requests {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await
                    .unwrap();
                let head = String::from_utf8(head).unwrap();
                lines.push(head.lines().next().unwrap().to_owned());
            }
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "it is closed");
        }
        lines
    });
    let keep = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut client = TcpStream::connect(at).await.unwrap();
    let mut answer = [0; 16];
    for said in [[HEADER, keep].concat(), keep.to_vec()] {
        client.write_all(&said).await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..13], *b"HTTP/1.1 200 ");
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            rest.push(client.read_u8().await.unwrap());
        }
    }
    drop(client);
    assert!(
        conversation(at, &[REQUEST])
            .await
            .0
            .starts_with(b"HTTP/1.1 200 ")
    );
    let lines = answering.await.unwrap();
    assert_eq!(
        lines[..2],
        ["PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222", "GET / HTTP/1.1"]
    );
    assert!(
        lines[2].starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_of_a_client_ends_with_the_clusters_idle_time() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = socket.local_addr().unwrap();
    let told = cluster(backend, "V1").replace(
        "proxy_protocol",
        "pool: {idle_timeout: 50ms}, proxy_protocol",
    );
    let (_runtime, at) = started(&(web("", "http: {}") + &told + ROUTE)).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let request = [HEADER, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
    client.write_all(&request).await.unwrap();
    let (mut stream, _) = socket.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    // The client's own connection goes on meanwhile.
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "it is closed");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let (mut stream, _) = socket.accept().await.unwrap();
    let mut line = vec![0; HEADER.len()];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(line, HEADER);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_of_a_source_holds_for_the_clients_that_balancers_name() {
    let limits = "limits: {max_connections_per_source: 2}, http: {}";
    let yaml = web("mode: OPTIONAL, timeout: 5m", limits)
        + "{kind: Route, name: r, respond: {status: 204}}";
    let (runtime, at) = started(&yaml).await;
    let open = async |client: &str| {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let said = format!("PROXY {client} 1111 2222\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        // A reset, where it is refused.
        let read = stream.read_exact(&mut answer).await;
        read.is_ok_and(|_| answer == *b"HTTP/1.1 204 ")
            .then_some(stream)
    };
    let one = "TCP4 192.0.2.1 192.0.2.9";
    let _first = open(one).await.expect("the first is taken");
    let second = open(one).await.expect("the second is taken");
    assert!(open(one).await.is_none(), "there is no third");
    assert!(
        open("TCP4 192.0.2.2 192.0.2.9").await.is_some(),
        "of others there is"
    );
    // What names no client is the balancer's own, and there are as many of it.
    let own = "UNKNOWN 192.0.2.1 192.0.2.9";
    let _own = (open(own).await.unwrap(), open(own).await.unwrap());
    assert!(open(own).await.is_none(), "the balancer's own are bounded");
    let snapshot = runtime.snapshot();
    let counters = &snapshot.listeners.values().next().unwrap().counters;
    assert_eq!(counters.shard(0).connections_refused.get(), 2);
    drop(second);
    while open(one).await.is_none() {
        tokio::task::yield_now().await;
    }
}
