//! The configurations on the pages of `docs/` do what the pages say.

use std::{fs, net::SocketAddr, path::Path};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Authority, Proxy, Upstream, block_with_texts, eventually, run_shell, write_private,
};

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
    // A client may see the end before the last of it is counted.
    for line in [
        "fleetway_listener_connections_total{listener=\"database\"} 4",
        "fleetway_listener_received_bytes_total{listener=\"database\"} 20",
        "fleetway_listener_sent_bytes_total{listener=\"database\"} 40",
        "fleetway_cluster_sent_bytes_total{cluster=\"postgres\"} 20",
        "fleetway_cluster_received_bytes_total{cluster=\"postgres\"} 40",
    ] {
        eventually(line, async || {
            let (_, metrics) = proxy.page("/metrics").await;
            metrics.contains(line).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_protocol_of_the_page_is_believed_from_the_balancer_and_passed_on() {
    // What the cluster is told: version 2, and who the client is.
    let told = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\x57\x08\xae";
    let upstream = Upstream::headed(told).await;
    let places = [("0.0.0.0:8080", ANY), ("10.0.1.1:8080", upstream.address)];
    let (folder, proxy) = serving("proxy-protocol.md", 0, &places).await;
    let at = proxy.listener("web").await;
    let said = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n\
        GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stranger = TcpStream::connect(at).await.expect("a connection");
    stranger.write_all(said).await.expect("sent");
    let mut answer = Vec::new();
    // An end or a reset, but no answer.
    let _ = stranger.read_to_end(&mut answer).await;
    assert_eq!(answer, b"", "loopback is not of the networks trusted");

    let file = folder.path().join("all.yaml");
    let yaml = fs::read_to_string(&file).expect("the file");
    fs::write(&file, yaml.replace("10.0.0.0/8", "127.0.0.0/8")).expect("written");
    let answer = eventually("it is trusted", async || {
        let mut stream = TcpStream::connect(at).await.ok()?;
        stream.write_all(said).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        (!answer.is_empty()).then_some(answer)
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let (_, metrics) = proxy.page("/metrics").await;
    let refused = "fleetway_listener_proxy_protocol_errors_total{listener=\"web\"} ";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tls_of_the_page_goes_to_the_upstream_of_its_name() {
    let (database, sites) = tokio::join!(
        Upstream::hearing_out("database"),
        Upstream::hearing_out("sites")
    );
    let places = [
        ("0.0.0.0:8443", ANY),
        ("10.0.0.3:5432", database.address),
        ("10.0.0.4:8443", sites.address),
    ];
    let (_folder, proxy) = serving("tcp.md", 1, &places).await;
    let at = proxy.listener("tls").await;
    for (name, who) in [("db.example.com", "database"), ("www.example.com", "sites")] {
        let hello = client_hello(name);
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        stream.write_all(&hello).await.expect("sent");
        stream.shutdown().await.expect("ended");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let want = [format!("{who}: ").as_bytes(), &hello].concat();
        assert!(answer == want, "{name} goes to {who}, byte by byte");
    }
}

/// What a TLS client that asks for `name` sends first.
fn client_hello(name: &'static str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let mut sent = Vec::new();
    client.write_tls(&mut sent).expect("written");
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redirect_of_the_routing_page_sends_from_http_to_https_and_no_further() {
    let ca = Authority::new("Test CA");
    let shop = ca.issue(&["shop.example.com"]);
    let texts = [
        ("<chain of shop.example.com>", &shop.chain),
        ("<key of shop.example.com>", &shop.key),
    ];
    let yaml = block_with_texts("routing.md", 1, &texts)
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("0.0.0.0:8443", "127.0.0.1:0");
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("all.yaml"), yaml).expect("a file");
    let proxy = Proxy::of_folder(folder.path()).await;
    let (cleartext, secure) = (
        proxy.listener("cleartext").await,
        proxy.listener("secure").await,
    );
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(ca.client_config())
        .redirect(reqwest::redirect::Policy::none())
        .resolve("shop.example.com", secure)
        .build()
        .expect("a client");
    let answer = client
        .get(format!("http://{cleartext}/cart?q=1"))
        .header("host", "shop.example.com")
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_redirection(), "{answer:?}");
    let location = answer.headers()["location"].to_str().expect("text");
    assert_eq!(location, "https://shop.example.com:8443/cart?q=1");
    let location = location.replace("8443", &secure.port().to_string());
    let answer = client.get(location).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.expect("a text"), "shop\n");
}

#[tokio::test]
async fn a_certificate_signed_as_the_page_says_names_the_node() {
    let folder = TempDir::new().expect("a folder");
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/fleetway-xds.md"
    ));
    let page = fs::read_to_string(path).expect("the page");
    let lines = page
        .split("```sh\n")
        .find(|block| block.starts_with("openssl req -new"))
        .and_then(|block| block.split("```").next())
        .expect("the commands");
    let authority = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=proxies -keyout proxies-ca.key -out proxies-ca.pem";
    let script = format!(
        "set -e\n{authority}\n{lines}\nopenssl verify -CAfile proxies-ca.pem p1.pem\nopenssl x509 -in p1.pem -noout -ext subjectAltName"
    );
    let (code, out) = run_shell(nobody(), folder.path(), &script).await;
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("p1.pem: OK") && out.contains("URI:spiffe://example.com/fleet/blue/node/p1"),
        "{out}"
    );
}

#[tokio::test]
async fn the_sample_of_the_settings_of_a_service_starts_a_proxy() {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/systemd/proxy.yaml"
    ));
    let sample = fs::read_to_string(path).expect("the sample");
    assert!(sample.contains("xds.example.com:7081"), "{sample}");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ca = Authority::new("Test CA");
    let identity = ca.issue_identity("fleet/edge/node/edge-1");
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs::write(place("xds.pem"), &identity.chain).expect("a file");
    write_private(&folder.path().join("xds.key"), &identity.key);
    let sample = sample
        .replace("xds.example.com:7081", &nobody().to_string())
        .replace("/etc/fleetway/ca.pem", &ca.file().display().to_string())
        .replace("/etc/fleetway/xds.pem", &place("xds.pem"))
        .replace(
            "/run/credentials/fleetway-proxy.service/xds.key",
            &place("xds.key"),
        );
    fs::write(&file, sample).expect("a file");
    let proxy = Proxy::start(&["--config", file.to_str().expect("a plain path")]).await;
    let (status, _) = proxy.page("/healthz").await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_of_the_page_has_the_fields_of_the_page() {
    let page = include_str!("../../../docs/access-log.md");
    let upstream = Upstream::named("users").await;
    let logs = TempDir::new().expect("a folder");
    let file = logs.path().join("web.json");
    let yaml = page.split("```yaml\n").nth(1).expect("the block");
    let yaml = yaml.split("```").next().expect("its end");
    let yaml = yaml
        .replace("0.0.0.0:8080", &ANY.to_string())
        .replace("10.0.0.1:8080", &upstream.address.to_string())
        .replace("/var/log/fleetway/web.json", file.to_str().expect("a path"));
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("all.yaml"), yaml).expect("a file");
    let proxy = Proxy::of_folder(folder.path()).await;
    let at = proxy.listener("web").await;
    let request = "GET /users/7?full=1 HTTP/1.1\r\nhost: example.com\r\nuser-agent: curl/8.5.0\r\n\
                   connection: close\r\n\r\n";
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
        .read_to_end(&mut Vec::new())
        .await
        .expect("an answer");
    let line = eventually("the line", async || {
        let text = fs::read_to_string(&file).ok()?;
        text.ends_with('\n').then_some(text)
    })
    .await;
    let shown = page.split("```json\n").nth(1).expect("the line shown");
    let shown = shown.split("```").next().expect("its end");
    let fields = |text: &str| -> Vec<String> {
        let line: serde_json::Value = serde_json::from_str(text).expect("JSON");
        line.as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(fields(&line), fields(shown));
    for field in fields(&line) {
        assert!(page.contains(&format!("`{field}`")), "{field} is explained");
    }
}
