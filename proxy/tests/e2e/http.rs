//! HTTP through a proxy process: routing, rewriting, framing, time-outs.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Proxy, Server, Upstream, ask, curl, documents, exchange};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_admin_page_cannot_hold_up_the_end() {
    let server = Server::start().await;
    let mut proxy = Proxy::of(&server, "p1", "blue").await;
    let mut half = TcpStream::connect(proxy.admin).await.expect("a connection");
    half.write_all(b"GET / HT").await.expect("sent");
    // What came before this answer has been read.
    assert_eq!(proxy.page("/healthz").await.0, 200);
    proxy.terminate();
    assert_eq!(proxy.ended(Duration::from_secs(10)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_rewritten_redirected_and_spread_as_their_routes_say() {
    let echo = Upstream::echo().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut api = documents::forward("api", "/api", "echo");
    api["forward"]["rewrite"] = json!({"prefix": "/v2", "host": "inner.example"});
    let user = json!({
        "kind": "Route", "name": "user", "match": {"path": {"template": "/users/{id}/posts/{post}"}},
        "forward": {"clusters": [{"name": "echo"}], "rewrite": {"template": "/posts/{post}/of/{id}"}},
    });
    let moved = json!({
        "kind": "Route", "name": "moved", "match": {"path": {"prefix": "/old"}},
        "redirect": {"status": 308, "scheme": "https", "prefix": "/new"},
    });
    let hosted = json!({
        "kind": "Route", "name": "hosted", "match": {"hosts": ["*.example.com"]},
        "respond": {"status": 418, "body": "teapot", "headers": [{"name": "x-kind", "value": "pot"}]},
    });
    let all = [
        documents::listener("web"),
        documents::cluster("echo", echo.address),
        documents::forward("default", "/", "echo"),
        api,
        user,
        moved,
        hosted,
    ];
    server.client().commit_live(&all, 1).await;
    let base = format!("http://{}", proxy.listener("web").await);
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let get = async |path: &str| {
        let answer = http
            .get(format!("{base}{path}"))
            .send()
            .await
            .expect("an answer");
        let location = answer.headers().get("location").cloned();
        (
            answer.status().as_u16(),
            location,
            answer.text().await.expect("text"),
        )
    };
    let (_, _, text) = get("/api/x?q=1").await;
    assert!(
        text.starts_with("GET /v2/x?q=1\n") && text.contains("host: inner.example"),
        "{text}"
    );
    let (_, _, text) = get("/users/7/posts/9").await;
    assert!(text.starts_with("GET /posts/9/of/7\n"), "{text}");
    let (status, location, _) = get("/old/page?a=b").await;
    assert_eq!(status, 308);
    assert_eq!(
        location.expect("a location"),
        "https://127.0.0.1/new/page?a=b"
    );
    let teapot = http
        .get(&base)
        .header("host", "a.b.Example.com:99")
        .send()
        .await
        .expect("ok");
    assert_eq!(teapot.headers()["x-kind"], "pot");
    assert_eq!(teapot.status().as_u16(), 418);
    let posted = http
        .post(format!("{base}/echo"))
        .body("a body")
        .send()
        .await
        .expect("ok");
    let text = posted.text().await.expect("text");
    assert!(
        text.ends_with("\n\na body") && text.contains("via: 1.1 fleetway"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let echo = Upstream::echo().await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [
        documents::listener("web"),
        documents::cluster("echo", echo.address),
        documents::forward("default", "/", "echo"),
    ];
    server.client().commit_live(&all, 1).await;
    let base = format!("http://{}", proxy.listener("web").await);
    let http = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let answers = (0..20).map(|n| {
        let request = http.post(format!("{base}/{n}")).body(format!("body {n}"));
        async move {
            request
                .send()
                .await
                .expect("an answer")
                .text()
                .await
                .expect("text")
        }
    });
    for (n, text) in futures_util::future::join_all(answers)
        .await
        .into_iter()
        .enumerate()
    {
        assert!(text.starts_with(&format!("POST /{n}\n")), "{text}");
        assert!(
            text.contains("via: 2.0 fleetway") && text.ends_with(&format!("body {n}")),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_proxy_answers_to_head_has_no_content_over_http2_either() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let said = serde_json::json!({
        "kind": "Route", "name": "said",
        "match": {"path": {"exact": "/said"}},
        "respond": {"status": 200, "body": "hello"},
    });
    let all = [documents::listener("web"), said];
    server.client().commit_live(&all, 1).await;
    let stream = TcpStream::connect(proxy.listener("web").await).await;
    let (send, connection) = h2::client::handshake(stream.expect("a connection"))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let mut send = send.ready().await.expect("ready");
    for (path, status, length) in [("/said", 200, Some("5")), ("/none", 404, None)] {
        let request = http::Request::head(format!("http://a{path}")).body(());
        let (answer, _) = send
            .send_request(request.expect("a request"), true)
            .expect("sent");
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        assert_eq!(head.status, status);
        // The client takes any content for an error.
        assert!(body.data().await.is_none());
        let told = head.headers.get("content-length").expect("the length");
        assert!(length.is_none_or(|length| told == length), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upstream_runs_into_the_routes_time_out() {
    let silent = Upstream::answering(|_, _| {
        let (_hold, wait) = std::sync::mpsc::channel::<()>();
        let _ = wait.recv_timeout(Duration::from_secs(2));
        http::Response::new("late".to_owned())
    })
    .await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut route = documents::forward("r", "/", "silent");
    route["forward"]["timeout"] = json!("100ms");
    let all = [
        documents::listener("web"),
        documents::cluster("silent", silent.address),
        route,
    ];
    server.client().commit_live(&all, 1).await;
    let url = format!("http://{}/", proxy.listener("web").await);
    let answer = reqwest::get(&url).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 504);
}

/// A proxy in front of one upstream, with its server.
async fn before(upstream: &Upstream) -> (Server, Proxy, std::net::SocketAddr) {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let all = [
        documents::listener("web"),
        documents::cluster("c", upstream.address),
        documents::forward("r", "/", "c"),
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    (server, proxy, web)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_without_content_has_no_length() {
    let upstream = Upstream::raw(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n").await;
    let (_server, _proxy, web) = before(&upstream).await;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl(&["--include", version, &format!("http://{web}/")]).await;
        assert!(answer.contains(" 204"), "{answer}");
        assert!(!answer.contains("content-length"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_responses_and_trailers_of_the_upstream_reach_the_client() {
    let upstream = Upstream::raw(
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
          HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
          5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n",
    )
    .await;
    let (_server, _proxy, web) = before(&upstream).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
    let answer = exchange(web, request).await;
    let (interim, answer) = answer.split_once("\r\n\r\n").expect("two responses");
    assert!(
        interim.starts_with("HTTP/1.1 103 ") && interim.contains("link: "),
        "{interim}"
    );
    assert!(!interim.contains("x-hop"), "{interim}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.ends_with("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_responses_reach_a_client_of_http2() {
    let upstream = Upstream::raw(
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
          HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
    )
    .await;
    let (_server, _proxy, web) = before(&upstream).await;
    let url = format!("http://{web}/");
    let answer = curl(&["-i", "--http2-prior-knowledge", &url]).await;
    let (interim, answer) = answer.split_once("\r\n\r\n").expect("two responses");
    assert_eq!(interim, "HTTP/2 103 \r\nlink: </style.css>");
    assert!(answer.starts_with("HTTP/2 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http2_that_waits_for_a_100_gets_one() {
    let upstream = Upstream::echo().await;
    let (_server, _proxy, web) = before(&upstream).await;
    let stream = TcpStream::connect(web).await.expect("a connection");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut send = send.ready().await.expect("ready");
    let request = http::Request::post("http://a/echo").header("expect", "100-continue");
    let request = request.body(()).expect("a request");
    let (mut answer, mut body) = send.send_request(request, false).expect("sent");
    let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
    let interim = interim.expect("one").expect("an interim response");
    assert_eq!(interim.status(), 100);
    body.send_data("hello".into(), true).expect("sent");
    // There is one, though the upstream has sent one too.
    let more = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
    assert!(more.is_none(), "{more:?}");
    assert_eq!(answer.await.expect("an answer").status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_answers_nonsense_is_a_bad_gateway() {
    let upstream =
        Upstream::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx").await;
    let (_server, _proxy, web) = before(&upstream).await;
    let answer = exchange(
        web,
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_requests_are_refused_and_nothing_of_them_reaches_the_upstream() {
    let (tell, mut told) = tokio::sync::mpsc::channel(16);
    let upstream = Upstream::answering(move |head, _| {
        tell.try_send(head.uri.to_string()).expect("room");
        http::Response::new("reached".to_owned())
    })
    .await;
    let (_server, _proxy, web) = before(&upstream).await;
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding : chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "content-length: 5, 6",
        "host: second",
        "x: a\r\n folded",
        "x: a\rb",
    ] {
        let request = format!(
            "POST /first HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n\
             0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        );
        let answer = exchange(web, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{framing}: closed after it: {answer}"
        );
    }
    assert!(told.try_recv().is_err(), "nothing reached the upstream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_on_a_connection_that_just_closed_is_sent_again_only_if_that_is_safe() {
    let (tell, mut told) = tokio::sync::mpsc::channel(16);
    let upstream = Upstream::forgetful(tell).await;
    let (_server, _proxy, web) = before(&upstream).await;
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    let get = "GET /a HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(ask(&mut stream, get).await.0, 200);
    assert_eq!(
        ask(&mut stream, get).await.0,
        200,
        "sent again over a new connection"
    );
    let post = "POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(
        ask(&mut stream, post).await.0,
        502,
        "a POST may have been acted on"
    );
    let mut lines = Vec::new();
    while let Ok(line) = told.try_recv() {
        lines.push(line);
    }
    let lines: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|l| !l.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /a HTTP/1.1",
            "GET /a HTTP/1.1",
            "GET /a HTTP/1.1",
            "POST /b HTTP/1.1"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_stalls_is_broken_off_by_the_routes_idle_time_out() {
    // Declares ten bytes, sends three, and then only waits.
    let upstream = Upstream::stalling(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut route = documents::forward("r", "/", "c");
    route["forward"]["idle_timeout"] = json!("100ms");
    let all = [
        documents::listener("web"),
        documents::cluster("c", upstream.address),
        route,
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let answer = exchange(web, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        answer.ends_with("abc"),
        "what came was passed on, then it was broken off: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concerns_one_hop_ends_at_it() {
    let echo = Upstream::echo().await;
    let (_server, _proxy, web) = before(&echo).await;
    let say = async |line: &str, fields: &str| {
        let end = "connection: close, te\r\n\r\n";
        exchange(web, &format!("{line} HTTP/1.1\r\nhost: x\r\n{fields}{end}")).await
    };
    let answer = say("GET /", "te: trailers, gzip\r\n").await;
    assert!(answer.contains("\nte: trailers\n"), "{answer}");
    assert!(answer.contains("\nconnection: te\n"), "{answer}");

    let answer = say("OPTIONS /", "max-forwards: 2\r\n").await;
    assert!(answer.contains("\nmax-forwards: 1\n"), "{answer}");
    let answer = say("OPTIONS /", "max-forwards: 0\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    for (line, fields) in [("TRACE /", "max-forwards: 0\r\n"), ("CONNECT x:1", "")] {
        let answer = say(line, fields).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nallow: \r\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    // With other methods the field means nothing.
    let answer = say("GET /", "max-forwards: 0\r\n").await;
    assert!(answer.contains("\nmax-forwards: 0\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_to_http10_that_breaks_off_is_no_whole_one() {
    let upstream =
        Upstream::raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    let (_server, _proxy, web) = before(&upstream).await;
    let mut client = TcpStream::connect(web).await.expect("a connection");
    let request = b"GET / HTTP/1.0\r\nhost: x\r\n\r\n";
    client.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    let ended = client.read_to_end(&mut answer).await;
    let kind = ended.map_err(|error| error.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_cannot_hold_a_response_beyond_the_routes_time_out() {
    let upstream = Upstream::answering(|_, _| http::Response::new("x".repeat(32 << 20))).await;
    let (server, proxy, web) = before(&upstream).await;
    let mut route = documents::forward("r", "/", "c");
    route["forward"]["timeout"] = json!("1s");
    server.client().commit_live(&[route], 1).await;
    let active = async |count: usize| {
        let metric = format!("fleetway_cluster_requests_active{{cluster=\"c\"}} {count}\n");
        crate::support::eventually(&metric, async || {
            let (_, metrics) = proxy.page("/metrics").await;
            metrics.contains(&metric).then_some(())
        })
        .await;
    };
    let mut http1 = TcpStream::connect(web).await.expect("a connection");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    http1.write_all(request).await.expect("sent");
    active(1).await;
    active(0).await;
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let unread = http2.get(format!("http://{web}/")).send().await;
    active(1).await;
    active(0).await;
    let reset = unread.expect("a head").bytes().await;
    assert!(reset.is_err(), "the response was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_body_is_the_clients_fault() {
    let upstream = Upstream::echo().await;
    let (_server, proxy, web) = before(&upstream).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = exchange(web, &format!("{head}3\r\nabcdef\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (_, metrics) = proxy.page("/metrics").await;
    assert!(
        metrics.contains("fleetway_cluster_failures_total{cluster=\"c\"} 0"),
        "{metrics}"
    );
}
