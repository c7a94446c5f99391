//! Much of it: a gigabyte each way over a TCP relay, and what h2load brings over HTTP/2.

use std::{fs, net::SocketAddr};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::support::{Authority, Proxy, Server, documents};

const GIGABYTE: usize = 1 << 30;

/// Bytes that repeat only after a length no buffer has a multiple of.
fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..65_521).map(|_| next()).collect()
}

/// Sends a gigabyte, the pattern again and again, and says that this was all.
async fn send(stream: &mut (impl AsyncWrite + Unpin)) {
    let pattern = pattern();
    let mut left = GIGABYTE;
    while left > 0 {
        let some = left.min(pattern.len());
        stream
            .write_all(&pattern[..some])
            .await
            .expect("it is taken");
        left -= some;
    }
    stream.shutdown().await.expect("an end of this side");
}

/// Reads to the end; how many bytes there were, all of them those of the pattern.
async fn receive(stream: &mut (impl AsyncRead + Unpin), mut looked: impl FnMut(usize)) -> usize {
    let pattern = pattern();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let some = stream.read(&mut buffer).await.expect("bytes");
        if some == 0 {
            return total;
        }
        let mut bytes = &buffer[..some];
        while !bytes.is_empty() {
            let expected = &pattern[total % pattern.len()..];
            let same = expected.len().min(bytes.len());
            assert!(bytes[..same] == expected[..same], "wrong after {total}");
            total += same;
            bytes = &bytes[same..];
        }
        looked(total);
    }
}

/// How many ends of pipes a process has open.
fn pipes(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}

async fn relaying() -> (Server, Proxy, SocketAddr, TcpListener) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let to = upstream.local_addr().expect("its address");
    let listener = json!({
        "kind": "Listener", "name": "bytes", "address": "127.0.0.1:0",
        "tcp": {"clusters": [{"name": "far"}]},
    });
    let all = [listener, documents::cluster("far", to)];
    server.client().commit_live(&all, 1).await;
    let at = proxy.listener("bytes").await;
    (server, proxy, at, upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_each_way_arrives_as_it_was_sent_and_through_pipes() {
    let (_server, proxy, at, upstream) = relaying().await;
    let before = pipes(proxy.pid());
    let far = tokio::spawn(async move {
        let (stream, _) = upstream.accept().await.expect("a connection");
        let (mut read, mut write) = stream.into_split();
        let sending = tokio::spawn(async move {
            send(&mut write).await;
            write
        });
        let received = receive(&mut read, |_| ()).await;
        sending.await.expect("all is sent");
        received
    });
    let (mut read, mut write) = TcpStream::connect(at)
        .await
        .expect("it listens")
        .into_split();
    let sending = tokio::spawn(async move {
        send(&mut write).await;
        write
    });
    let mut most = 0;
    let received = receive(&mut read, |total| {
        // Now and then: the kernel passes the bytes on where there are pipes for them.
        if total >> 24 != (total.saturating_sub(256 * 1024)) >> 24 {
            most = most.max(pipes(proxy.pid()));
        }
    })
    .await;
    sending.await.expect("all is sent");
    assert_eq!(received, GIGABYTE);
    assert_eq!(far.await.expect("the far end"), GIGABYTE);
    assert!(most > before, "{most} ends of pipes, {before} before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_may_end_first_and_goes_on_receiving() {
    let (_server, _proxy, at, upstream) = relaying().await;
    for client_first in [true, false] {
        let mut near = TcpStream::connect(at).await.expect("it listens");
        let (mut far, _) = upstream.accept().await.expect("a connection");
        let (first, last) = match client_first {
            true => (&mut near, &mut far),
            false => (&mut far, &mut near),
        };
        let mut text = String::new();
        first.write_all(b"question").await.expect("it is taken");
        first.shutdown().await.expect("an end");
        last.read_to_string(&mut text).await.expect("all of it");
        assert_eq!(text, "question");
        // The other way is open still.
        last.write_all(b"answer").await.expect("it is taken");
        last.shutdown().await.expect("an end");
        text.clear();
        first.read_to_string(&mut text).await.expect("all of it");
        assert_eq!(text, "answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_has_every_request_answered_in_the_clear_and_over_tls() {
    let ca = Authority::new("Test CA");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut secure = documents::listener("secure");
    secure["tls"] = json!({"certificates": ["site"]});
    let all = [
        ca.issue(&["localhost"]).secret("site"),
        secure,
        documents::listener("plain"),
        documents::respond("hello", "/", "hello"),
    ];
    server.client().commit_live(&all, 1).await;
    for (scheme, listener) in [("http", "plain"), ("https", "secure")] {
        let at = proxy.listener(listener).await;
        let url = format!("{scheme}://localhost:{}/", at.port());
        let output = Command::new("h2load")
            .args(["-n", "5000", "-c", "10", "-m", "50", &url])
            .output()
            .await
            .expect("h2load runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{scheme}: {text}"
        );
        assert!(text.contains("status codes: 5000 2xx"), "{scheme}: {text}");
    }
}
