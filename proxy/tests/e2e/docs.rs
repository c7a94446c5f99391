//! The configurations on the pages of `docs/` do what the pages say.

use std::{fs, net::SocketAddr, path::Path};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Proxy, Upstream};

/// A proxy that serves block number `block` of a page, with these addresses in place of those it
/// has.
async fn serving(page: &str, block: usize, places: &[(&str, SocketAddr)]) -> (TempDir, Proxy) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(page);
    let text = fs::read_to_string(path).expect("the page");
    let yaml = text
        .split("```yaml\n")
        .nth(block + 1)
        .and_then(|rest| rest.split("```").next())
        .expect("the block");
    let yaml = places.iter().fold(yaml.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{page} has {from}");
        text.replace(from, &to.to_string())
    });
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("all.yaml"), yaml).expect("a file");
    let proxy = Proxy::of_folder(folder.path()).await;
    (folder, proxy)
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Sends all of `bytes` and the end; what comes back up to the other end.
async fn conversation(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    stream.shutdown().await.expect("ended");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// An address nobody listens on.
fn nobody() -> SocketAddr {
    let socket = std::net::TcpListener::bind(ANY).expect("a port");
    socket.local_addr().expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tcp_listener_of_the_page_passes_on_to_the_endpoint_that_is_there() {
    let upstream = Upstream::hearing_out("two").await;
    let places = [
        ("0.0.0.0:5432", ANY),
        ("10.0.0.1:5432", nobody()),
        ("10.0.0.2:5432", upstream.address),
    ];
    let (_folder, proxy) = serving("tcp.md", 0, &places).await;
    let at = proxy.listener("database").await;
    for _ in 0..4 {
        assert_eq!(conversation(at, b"hello").await, "two: hello");
    }
    let (_, metrics) = proxy.page("/metrics").await;
    for line in [
        "fleetway_listener_connections_total{listener=\"database\"} 4",
        "fleetway_listener_received_bytes_total{listener=\"database\"} 20",
        "fleetway_listener_sent_bytes_total{listener=\"database\"} 40",
        "fleetway_cluster_sent_bytes_total{cluster=\"postgres\"} 20",
        "fleetway_cluster_received_bytes_total{cluster=\"postgres\"} 40",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}
