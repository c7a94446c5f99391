//! Connections that the proxy ends after a last response: it arrives, whatever the client sends
//! while it is still reading.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    Proxy, Server, Upstream, documents, eventually,
    frames::{PREFACE, Raw, flag, frame, headers, kind, ping, request, setting, settings, window},
};

/// More than the client has read, and less than the kernel holds for it.
const SIZE: usize = 300_000;
/// How many requests a connection may have.
const REQUESTS: usize = 3;

/// A proxy whose connections end after so many requests, each of which is answered at length.
struct Ending {
    web: SocketAddr,
    proxy: Proxy,
    _surroundings: (Server, Upstream),
}

impl Ending {
    async fn start() -> Self {
        let upstream = Upstream::answering(|_, _| http::Response::new("x".repeat(SIZE))).await;
        let server = Server::start().await;
        let proxy = Proxy::of(&server, "p1", "blue").await;
        let mut listener = documents::listener("web");
        listener["http"] = json!({"limits": {"max_requests_per_connection": REQUESTS}});
        let all = [
            listener,
            documents::cluster("long", upstream.address),
            documents::forward("r", "/", "long"),
        ];
        server.client().commit_live(&all, 1).await;
        Self {
            web: proxy.listener("web").await,
            proxy,
            _surroundings: (server, upstream),
        }
    }

    /// A client whose kernel takes little at a time.
    async fn client(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.connect(self.web).await.unwrap()
    }

    /// Waits until all was answered that may be.
    async fn answered(&self) {
        eventually("all requests are answered", async || {
            let (_, metrics) = self.proxy.page("/metrics").await;
            let sample = "fleetway_cluster_requests_active{cluster=\"long\"} 0";
            let total = format!(
                "fleetway_cluster_request_duration_seconds_count{{cluster=\"long\"}} {REQUESTS}"
            );
            (metrics.contains(sample) && metrics.contains(&total)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_too_many_takes_no_answer_away() {
    let ending = Ending::start().await;
    let mut client = ending.client().await;
    let get = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let asked = get.repeat(REQUESTS);
    client.write_all(asked.as_bytes()).await.unwrap();
    ending.answered().await;
    client.write_all(get.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.unwrap();
    let heads = String::from_utf8(answers).unwrap();
    assert_eq!(heads.matches("HTTP/1.1 200 OK").count(), REQUESTS);
    assert_eq!(heads.matches('x').count(), REQUESTS * SIZE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_a_client_that_still_reads_take_no_answer_away() {
    let ending = Ending::start().await;
    let mut client = Raw::over(ending.client().await);
    let wide = u32::try_from(SIZE * REQUESTS).unwrap();
    let begin = [
        PREFACE,
        &settings(&[
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::INITIAL_WINDOW_SIZE, wide),
        ]),
        &window(0, wide),
        &frame(kind::SETTINGS, flag::ACK, 0, &[]),
    ];
    client.send(&begin.concat()).await;
    let block = request("GET", "/");
    for stream in [1, 3, 5] {
        client.send(&headers(stream, flag::WHOLE, &block)).await;
    }
    ending.answered().await;
    let mut bytes = 0;
    let mut ended = 0;
    while let Some(came) = client.next().await {
        match (came.kind, came.flags) {
            (kind::DATA, _) => {
                bytes += came.payload.len();
                ended += usize::from(came.ends_stream());
                client.send(&ping(b"on it...")).await;
            }
            // The proxy waits for the answer before it says which stream was the last.
            (kind::PING, flag::NONE) => {
                client
                    .send(&frame(kind::PING, flag::ACK, 0, &came.payload))
                    .await;
            }
            _ => {}
        }
    }
    assert_eq!((bytes, ended), (REQUESTS * SIZE, REQUESTS));
}
