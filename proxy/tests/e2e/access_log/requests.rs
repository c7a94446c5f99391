//! A line for each request.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Logged, steady};
use crate::support::{Authority, Peer, Upstream, curl, documents, exchange, run_python};

async fn logged(upstream: SocketAddr) -> Logged {
    let all = [
        documents::cluster("up", upstream),
        documents::forward("all", "/", "up"),
        documents::respond("own", "/own", "hello"),
    ];
    Logged::with(&all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_tells_all_of_a_request_and_nothing_of_its_fields() {
    let upstream = Upstream::named("four").await;
    let logged = logged(upstream.address).await;
    let web = logged.web().await;
    let url = format!("http://{web}/a%20b/c?key=v%22&x");
    let secret = [
        "--header",
        "authorization: Bearer hush",
        "--header",
        "cookie: a=hush",
    ];
    let given = [
        "--user-agent",
        "a \"b\"\\\t\u{e4}",
        "--header",
        "x-request-id: 0\"7",
    ];
    let body = ["--globoff", "--data", "hello, you", &url];
    curl(&[&secret[..], &given, &body].concat()).await;
    let line = logged.line().await;
    assert!(line["upstream_duration_us"].is_u64() && line["duration_us"].is_u64());
    assert!(!line.to_string().contains("hush"), "{line}");
    assert_eq!(
        steady(line),
        json!({
            "listener": "web", "protocol": "HTTP/1.1", "method": "POST", "authority": web.to_string(),
            "path": "/a%20b/c", "query": "key=v%22&x", "request_id": "0\"7",
            "user_agent": "a \"b\"\\\t\u{e4}", "route": "all", "cluster": "up",
            "upstream_address": upstream.address.to_string(), "status": 200,
            "bytes_received": 10, "bytes_sent": 4,
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_connection_stand_in_order_whoever_answers() {
    let logged = logged(Upstream::named("four").await.address).await;
    let web = logged.web().await;
    let request = |method: &str, path: &str, fields: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
    };
    let all = [
        request("GET", "/own", ""),
        request("HEAD", "/own", ""),
        request("GET", "/x/%2F", ""),
        request("GET", "/gone", ""),
        request("HEAD", "/gone", "connection: close\r\n"),
    ];
    // The upstream's socket is gone with its handle: nobody listens there.
    exchange(web, &all.concat()).await;
    logged.lines(5).await;
    let lines = super::read(&logged.file);
    let told: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!([
                line["method"],
                line["path"],
                line["status"],
                line["cause"],
                line["bytes_sent"]
            ])
        })
        .collect();
    let failed = "upstream connect failure\n".len();
    let bad = lines[2]["bytes_sent"].as_u64();
    assert!(bad > Some(0));
    assert_eq!(
        told,
        [
            json!(["GET", "/own", 200, null, 5]),
            json!(["HEAD", "/own", 200, null, 0]),
            json!(["GET", "/x/%2F", 400, "bad_path", bad]),
            json!(["GET", "/gone", 503, "upstream_connect_failure", failed]),
            json!(["HEAD", "/gone", 503, "upstream_connect_failure", 0]),
        ]
    );
    assert_eq!(lines[3]["cluster"], "up");
    assert!(lines[2].get("route").is_none());
    let clients: Vec<&Value> = lines.iter().map(|line| &line["client_address"]).collect();
    assert!(
        clients.iter().all(|client| *client == clients[0]),
        "{clients:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_cannot_be_read_has_a_line_too() {
    let logged = logged(Upstream::named("four").await.address).await;
    let web = logged.web().await;
    exchange(web, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    exchange(web, "hush\r\n\r\n").await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(20_000));
    exchange(web, &long).await;
    let lines = logged.lines(3).await;
    // Each is of a connection of its own, and so of any worker.
    let mut told: Vec<Value> = lines
        .iter()
        .map(|line| json!([line["status"], line["cause"]]))
        .collect();
    told.sort_by_key(|line| line[0].as_u64());
    assert_eq!(
        told[1..],
        [json!([400, "bad_request"]), json!([414, "uri_too_long"])]
    );
    assert_eq!(told[0], json!([400, "bad_request"]));
    assert!(lines.iter().all(|line| !line.to_string().contains("hush")));
    assert!(lines.iter().all(|line| line.get("method").is_none()));
}

/// What of an answer comes, of how many bytes that are promised: once so many that the kernel passes them on.
async fn cut(came: usize, promised: usize) {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {promised}\r\n\r\n");
    let answer = [answer.into_bytes(), vec![b'x'; came]].concat().leak();
    let (broken, silent) = tokio::join!(Upstream::raw(answer), Upstream::stalling(answer));
    let mut slow = documents::forward("slow", "/slow", "silent");
    slow["forward"]["idle_timeout"] = "200ms".into();
    let all = [
        documents::cluster("broken", broken.address),
        documents::cluster("silent", silent.address),
        documents::forward("broken", "/broken", "broken"),
        documents::forward("left", "/left", "silent"),
        slow,
    ];
    let logged = Logged::with(&all).await;
    let web = logged.web().await;
    for path in ["broken", "slow"] {
        let mut client = TcpStream::connect(web).await.expect("a connection");
        let request = format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");
        let mut got = Vec::new();
        // An end or a reset.
        let _ = client.read_to_end(&mut got).await;
        assert!(got.len() < 1000 + came);
    }
    let mut client = TcpStream::connect(web).await.expect("a connection");
    client
        .write_all(b"GET /left HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .expect("sent");
    while client.read_u8().await.expect("an answer") != b'x' {}
    let mut rest = vec![0; came - 1];
    client.read_exact(&mut rest).await.expect("the rest");
    assert!(rest.iter().all(|byte| *byte == b'x'));
    drop(client);
    let lines = logged.lines(3).await;
    for (line, cause) in lines
        .iter()
        .zip(["upstream_reset", "idle_timeout", "aborted"])
    {
        assert_eq!(line["cause"], cause, "{line}");
        assert_eq!(
            (&line["status"], &line["bytes_sent"]),
            (&json!(200), &json!(came)),
            "{line}"
        );
    }
    assert!(
        lines[1]["duration_us"].as_u64() >= Some(200_000),
        "{}",
        lines[1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_says_by_whom_and_how_much_was_sent() {
    cut(4, 9).await;
    cut(1_000_000, 2_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_the_answer_has_a_line_without_a_status() {
    // It takes connections, and reads nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("a socket");
    let logged = logged(silent.local_addr().expect("an address")).await;
    let web = logged.web().await;
    let mut client = TcpStream::connect(web).await.expect("a connection");
    client
        .write_all(b"POST /w HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        .await
        .expect("sent");
    let active = "fleetway_cluster_requests_active{cluster=\"up\"} 1\n";
    crate::support::eventually("it is with the upstream", async || {
        let (_, metrics) = logged.proxy.page("/metrics").await;
        metrics.contains(active).then_some(())
    })
    .await;
    drop(client);
    let line = logged.line().await;
    assert!(line.get("status").is_none(), "{line}");
    assert_eq!(
        (&line["cause"], &line["bytes_received"]),
        (&json!("aborted"), &json!(5))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_line_tells_of_the_session_and_the_client() {
    let ca = Authority::new("Test CA");
    let all = [
        ca.secret("authority"),
        ca.issue(&["api.example.com"]).secret("api"),
        documents::respond("own", "/", "hello"),
    ];
    let logged = Logged::changed(&all, |listener| {
        listener["tls"] = json!({
            "certificates": ["api"], "client_certificates": {"ca": "authority", "mode": "OPTIONAL"},
        });
    })
    .await;
    let web = logged.web().await;
    let client = ca.issue(&["client-7"]);
    let shown = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = shown.path().join(name);
        crate::support::write_private(&path, text);
        path.to_str().expect("a plain path").to_owned()
    };
    let (chain, key) = (file("chain", &client.chain), file("key", &client.key));
    let authority = ca.file();
    let common = ["--cacert", authority.to_str().expect("a plain path")];
    let connect = format!("::{}:{}", web.ip(), web.port());
    let to = ["--connect-to", &connect, "https://api.example.com/x"];
    curl(&[&common[..], &["--http2"], &to].concat()).await;
    curl(
        &[
            &common[..],
            &[
                "--http1.1",
                "--tls-max",
                "1.2",
                "--cert",
                &chain,
                "--key",
                &key,
            ],
            &to,
        ]
        .concat(),
    )
    .await;
    let lines = logged.lines(2).await;
    for (line, protocol, version) in [
        (&lines[0], "HTTP/2", "TLSv1.3"),
        (&lines[1], "HTTP/1.1", "TLSv1.2"),
    ] {
        assert_eq!(line["protocol"], protocol, "{line}");
        assert_eq!(line["tls_version"], version, "{line}");
        assert_eq!(line["tls_server_name"], "api.example.com");
        assert_eq!(
            (&line["authority"], &line["path"]),
            (&json!("api.example.com"), &json!("/x"))
        );
        assert_eq!(
            (&line["status"], &line["bytes_sent"]),
            (&json!(200), &json!(5))
        );
    }
    assert!(lines[0].get("tls_client_subject").is_none());
    let subject = lines[1]["tls_client_subject"].as_str().expect("a subject");
    assert!(subject.contains("CN=client-7"), "{subject}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_grpc_have_the_status_of_their_trailers() {
    let peer = Peer::python("grpc_server.py", &[]).await;
    let mut cluster = documents::cluster("up", peer.address);
    cluster["protocol"] = "HTTP2".into();
    let all = [cluster, documents::forward("all", "/", "up")];
    let logged = Logged::with(&all).await;
    let web = logged.web().await.to_string();
    run_python("grpc_client.py", &[&web]).await;
    let statuses = crate::support::eventually("a call that failed", async || {
        let lines = super::read(&logged.file);
        let statuses: std::collections::BTreeSet<String> = lines
            .iter()
            .map(|line| line["grpc_status"].to_string())
            .collect();
        (statuses.len() > 1).then_some(statuses)
    })
    .await;
    assert!(statuses.contains("\"0\""), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_and_clusters_tell_how_long_their_requests_took() {
    let logged = logged(Upstream::named("four").await.address).await;
    let web = logged.web().await;
    exchange(
        web,
        "GET /own HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    exchange(
        web,
        "GET /up HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    for (name, label) in [("route", "own"), ("route", "all"), ("cluster", "up")] {
        let metric = format!("fleetway_{name}_request_duration_seconds");
        for line in [
            format!("# TYPE {metric} histogram\n"),
            format!("{metric}_bucket{{{name}=\"{label}\",le=\"60\"}} 1\n"),
            format!("{metric}_bucket{{{name}=\"{label}\",le=\"+Inf\"}} 1\n"),
            format!("{metric}_count{{{name}=\"{label}\"}} 1\n"),
        ] {
            crate::support::eventually(&line, async || {
                let (_, metrics) = logged.proxy.page("/metrics").await;
                metrics.contains(&line).then_some(())
            })
            .await;
        }
    }
    logged.put(&[
        super::listener("web", &logged.file),
        documents::respond("own", "/", "hello"),
    ]);
    crate::support::eventually("what is gone is shown no more", async || {
        let (_, metrics) = logged.proxy.page("/metrics").await;
        let gone = !metrics.contains("route=\"all\"") && !metrics.contains("cluster=\"up\"");
        (gone && metrics.contains("_count{route=\"own\"} 1\n")).then_some(())
    })
    .await;
}
