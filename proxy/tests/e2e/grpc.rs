//! HTTP/2 upstream, by gRPC's own client and server, and by nginx.

use std::net::SocketAddr;

use crate::support::{Peer, Proxy, Server, apply_page, curl, documents, run_python};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_works_as_the_page_says() {
    let peer = Peer::python("grpc_server.py", &[]).await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let places = [("0.0.0.0:8080", any), ("10.0.0.1:50051", peer.address)];
    apply_page(&server, "grpc.md", &places).await;
    let web = proxy.listener("web").await.to_string();
    let said = run_python("grpc_client.py", &[&web]).await;
    assert_eq!(said, "all was answered\n");
    let (_, metrics) = proxy.page("/metrics").await;
    let opened = "fleetway_cluster_connections_total{cluster=\"greeter\"} 1\n";
    assert!(metrics.contains(opened), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_outlive_the_connections_that_nginx_ends() {
    // It says GOAWAY after every twentieth request, and takes two streams at a time.
    let directives = "keepalive_requests 20; http2_max_concurrent_streams 2; \
                      location / { return 200 \"$server_protocol $http_host $request_uri\\n\"; }";
    let nginx = Peer::nginx(true, directives).await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut cluster = documents::cluster("up", nginx.address);
    cluster["protocol"] = "HTTP2".into();
    let all = [
        documents::listener("web"),
        cluster,
        documents::forward("default", "/", "up"),
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let url = format!("http://{web}/[1-120]");
    let answer = curl(&["--parallel", "--parallel-max", "12", &url]).await;
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (1..=120).map(|n| format!("HTTP/2.0 {web} /{n}")).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_proxy_says_to_a_call_is_said_as_grpc_has_it() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a socket");
    let silent = silent
        .local_addr()
        .map(|at| (silent, at))
        .expect("an address");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut slow = documents::forward("slow", "/slow.Slow", "silent");
    slow["forward"]["timeout"] = "300ms".into();
    let all = [
        documents::listener("web"),
        documents::cluster("silent", silent.1),
        serde_json::json!({"kind": "Cluster", "name": "gone"}),
        documents::forward("gone", "/gone.Gone", "gone"),
        documents::forward("hanging", "/hanging.Hanging", "silent"),
        slow,
    ];
    server.client().commit_live(&all, 1).await;
    let web = proxy.listener("web").await.to_string();
    let said = run_python("grpc_errors.py", &[&web]).await;
    assert_eq!(
        said,
        "UNIMPLEMENTED: no route matches this request\n\
         UNAVAILABLE: no endpoint is available\n\
         DEADLINE_EXCEEDED: upstream request timeout\n"
    );
    // gRPC's own client ends a call whose time is over itself; this one waits to be told.
    let url = format!("http://{web}/hanging.Hanging/Call");
    let head = curl(&[
        "--http2-prior-knowledge",
        "--dump-header",
        "-",
        "--data",
        "",
        "--header",
        "content-type: application/grpc",
        "--header",
        "grpc-timeout: 200m",
        &url,
    ])
    .await;
    assert!(head.contains("grpc-status: 4\r\n"), "{head}");
}
