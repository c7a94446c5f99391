//! A line for each connection that is passed on, and for what becomes a tunnel.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Logged, steady};
use crate::support::{Authority, Peer, Upstream, documents, refuses, run_python};

/// Sends `bytes` and the end; what comes back.
async fn conversation(at: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset can come at any time.
    let _ = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    }
    .await;
    answer
}

fn passing_on(listener: &mut Value) {
    listener.as_object_mut().expect("an object").remove("http");
    listener["tcp"] = json!({"clusters": [{"name": "up"}]});
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_passed_on_has_a_line() {
    let upstream = Upstream::hearing_out("two").await;
    let cluster = documents::cluster("up", upstream.address);
    let logged = Logged::changed(&[cluster], passing_on).await;
    let web = logged.web().await;
    assert_eq!(conversation(web, b"hello").await, b"two: hello");
    let line = logged.line().await;
    assert!(line["duration_us"].is_u64());
    assert_eq!(
        steady(line),
        json!({
            "listener": "web", "protocol": "TCP", "cluster": "up",
            "upstream_address": upstream.address.to_string(),
            "bytes_received": 5, "bytes_sent": 10,
        })
    );
    let address = upstream.address;
    drop(upstream);
    refuses(address).await;
    assert_eq!(conversation(web, b"hello").await, b"");
    let line = logged.lines(2).await.remove(1);
    assert_eq!(
        (&line["cause"], &line["bytes_received"]),
        (&json!("no_endpoint"), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_says_so() {
    let upstream = Upstream::hearing_out("two").await;
    let cluster = documents::cluster("up", upstream.address);
    let logged = Logged::changed(&[cluster], |listener| {
        passing_on(listener);
        listener["tcp"]["idle_timeout"] = "100ms".into();
    })
    .await;
    let mut idle = TcpStream::connect(logged.web().await)
        .await
        .expect("a connection");
    idle.write_all(b"hello").await.expect("sent");
    let _ = idle.read_to_end(&mut Vec::new()).await;
    let line = logged.line().await;
    assert_eq!(
        (&line["cause"], &line["bytes_received"]),
        (&json!("idle_timeout"), &json!(5))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_is_passed_on_has_the_name_that_was_asked_for() {
    let ca = Authority::new("Test CA");
    let upstream = Upstream::hearing_out("tls").await;
    let logged = Logged::changed(&[documents::cluster("up", upstream.address)], |listener| {
        listener.as_object_mut().expect("an object").remove("http");
        let server = json!({"server_names": ["a.example.com"], "clusters": [{"name": "up"}]});
        listener["tls_passthrough"] = json!({"servers": [server]});
    })
    .await;
    let web = logged.web().await;
    let mut sent = 0;
    for name in ["a.example.com", "b.example.com"] {
        let name = name.try_into().expect("a name");
        let mut client =
            rustls::ClientConnection::new(ca.client_config().into(), name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("written");
        conversation(web, &hello).await;
        sent = hello.len();
    }
    let lines = logged.lines(2).await;
    assert_eq!(lines[0]["protocol"], "TLS");
    assert_eq!(lines[0]["tls_server_name"], "a.example.com");
    assert_eq!(
        (&lines[0]["cluster"], &lines[0]["bytes_received"]),
        (&json!("up"), &json!(sent))
    );
    assert_eq!(lines[1]["tls_server_name"], "b.example.com");
    assert_eq!(
        (&lines[1]["cause"], lines[1].get("cluster")),
        (&json!("no_cluster"), None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_has_its_line_when_it_ends() {
    let peer = Peer::python("websocket_server.py", &[]).await;
    let all = [
        documents::cluster("up", peer.address),
        documents::forward("chat", "/", "up"),
    ];
    let logged = Logged::with(&all).await;
    let url = format!("ws://{}/chat", logged.web().await);
    run_python("websocket_client.py", &[&url]).await;
    let line = logged.line().await;
    assert_eq!(
        (&line["status"], &line["route"]),
        (&json!(101), &json!("chat")),
        "{line}"
    );
    assert!(line["bytes_received"].as_u64() > Some(0) && line["bytes_sent"].as_u64() > Some(0));
    assert!(line.get("cause").is_none(), "{line}");
}
