//! Upstreams that choose their version of HTTP themselves, tried with nginx.

use std::fs;

use tokio::net::TcpStream;

use crate::support::{Authority, Nginx, Proxy, ask, eventually, exchange, page_with_texts};

/// Says in which version of HTTP it was asked, and for which upgrade.
const SAYS: &str = r#"location /said { return 200 "$server_protocol $http_upgrade"; }"#;

/// The proxy of the page, with nginx for its upstream.
async fn proxy(ca: &Authority, nginx: &Nginx) -> (tempfile::TempDir, Proxy, TcpStream) {
    let text = page_with_texts("upstreams.md", &[("<authority of the upstreams>", &ca.pem)]);
    let text = text
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("10.0.0.1:8443", &nginx.address.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("all.yaml"), text).expect("written");
    let proxy = Proxy::of_folder(folder.path()).await;
    let web = proxy.listener("web").await;
    let stream = TcpStream::connect(web).await.expect("a connection");
    (folder, proxy, stream)
}

const GET: &str = "GET /said HTTP/1.1\r\nhost: x\r\n\r\n";

async fn counted(proxy: &Proxy, name: &str) -> u64 {
    let (_, metrics) = proxy.page("/metrics").await;
    let line = format!("fleetway_cluster_{name}{{cluster=\"shop\"}} ");
    let value = metrics.lines().find_map(|found| found.strip_prefix(&line));
    value.expect("a counter").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_upstream_chooses_is_spoken_and_followed_when_it_changes() {
    let ca = Authority::new("Test CA");
    let mut nginx = Nginx::showing(&ca.issue(&["shop.internal"]), SAYS).await;
    let (_folder, proxy, mut stream) = proxy(&ca, &nginx).await;
    let mut connections = 0;
    for http2 in [false, true, false] {
        let expected = if http2 { "HTTP/2.0 " } else { "HTTP/1.1 " };
        // The first one is as it was started.
        if connections > 0 {
            nginx.restart(http2).await;
        }
        // The proxy may not know yet that its connection has ended.
        eventually("it follows", async || {
            let answer = ask(&mut stream, GET).await;
            (answer == (200, expected.to_owned())).then_some(())
        })
        .await;
        connections = counted(&proxy, "connections_total").await;
        for _ in 0..5 {
            assert_eq!(ask(&mut stream, GET).await, (200, expected.to_owned()));
        }
        let now = counted(&proxy, "connections_total").await;
        assert_eq!(now, connections, "one is kept, whichever it speaks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_before_it_is_known_are_all_answered() {
    let ca = Authority::new("Test CA");
    let certificate = ca.issue(&["shop.internal"]);
    for http2 in [false, true] {
        let mut nginx = Nginx::showing(&certificate, SAYS).await;
        if http2 {
            nginx.restart(true).await;
        }
        let (_folder, proxy, _) = proxy(&ca, &nginx).await;
        let web = proxy.listener("web").await;
        let asking = (0..20).map(|_| async move {
            let mut stream = TcpStream::connect(web).await.expect("a connection");
            ask(&mut stream, GET).await
        });
        let expected = if http2 { "HTTP/2.0 " } else { "HTTP/1.1 " };
        for answer in futures_util::future::join_all(asking).await {
            assert_eq!(answer, (200, expected.to_owned()));
        }
        // Each worker has one for all its requests.
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let connections = counted(&proxy, "connections_total").await;
        assert!(!http2 || connections <= workers, "{connections}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_has_a_connection_of_http1() {
    let ca = Authority::new("Test CA");
    let mut nginx = Nginx::showing(&ca.issue(&["shop.internal"]), SAYS).await;
    nginx.restart(true).await;
    let (_folder, _proxy, mut stream) = proxy(&ca, &nginx).await;
    let upgrade = GET.replace("host", "connection: upgrade\r\nupgrade: websocket\r\nhost");
    for _ in 0..2 {
        let answer = ask(&mut stream, &upgrade).await;
        assert_eq!(answer, (200, "HTTP/1.1 websocket".to_owned()));
        assert_eq!(ask(&mut stream, GET).await, (200, "HTTP/2.0 ".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_byte_by_byte_is_not_made_http2() {
    let ca = Authority::new("Test CA");
    let mut nginx = Nginx::showing(&ca.issue(&["shop.internal"]), SAYS).await;
    nginx.restart(true).await;
    let (folder, proxy, _) = proxy(&ca, &nginx).await;
    let listener =
        "{kind: Listener, name: bytes, address: '127.0.0.1:0', tcp: {clusters: [{name: shop}]}}\n";
    fs::write(folder.path().join("bytes.yaml"), listener).expect("written");
    let bytes = proxy.listener("bytes").await;
    let closing = GET.replace("host", "connection: close\r\nhost");
    let said = exchange(bytes, &closing).await;
    assert!(said.ends_with("\r\n\r\nHTTP/1.1 "), "{said}");
}
