//! Clients that show certificates, sessions that are resumed, and what is agreed on.

use std::{fs, net::SocketAddr, process::Stdio, sync::Arc};

use rcgen::SanType;
use rustls::{HandshakeKind, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};
use tokio_rustls::TlsConnector;

use crate::support::{
    Authority, Issued, Proxy, Rest, Server, Surroundings, Upstream, documents, eventually,
    write_private,
};

const URI: &str = "spiffe://example.com/ns/shop/sa/cart";

/// A proxy with one listener over TLS of these settings, and a cluster that echoes requests.
struct Serving {
    ca: Authority,
    rest: Rest,
    proxy: Proxy,
    echo: Upstream,
    _server: Server,
}

impl Serving {
    async fn new() -> Self {
        let server = Server::start().await;
        let proxy = Proxy::of(&server, "p1", "blue").await;
        Self {
            ca: Authority::new("Test CA"),
            rest: server.client(),
            proxy,
            echo: Upstream::echo().await,
            _server: server,
        }
    }

    /// Puts a listener in force; where it listens.
    async fn listen(&self, name: &str, tls: Value) -> SocketAddr {
        let mut listener = documents::listener(name);
        listener["tls"] = tls;
        let resources = [
            self.ca.issue(&["api.example.com"]).secret("api"),
            self.ca.secret("authority"),
            documents::cluster("c", self.echo.address),
            documents::forward("r", "/", "c"),
            listener,
        ];
        self.rest.commit_live(&resources, 1).await;
        self.proxy.listener(name).await
    }

    async fn metric(&self, sample: &str) -> bool {
        let (_, metrics) = self.proxy.page("/metrics").await;
        metrics.lines().any(|line| line == sample)
    }
}

/// What curl prints for a request that claims a client certificate; nothing if it failed.
async fn curl(
    at: SocketAddr,
    ca: &Authority,
    shown: Option<&Issued>,
    args: &[&str],
) -> Option<String> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(ca.file())
        .args(["--connect-to", &format!("::{}:{}", at.ip(), at.port())])
        .args(["--header", "x-forwarded-client-cert: Hash=forged"])
        .args(args);
    let folder = tempfile::tempdir().expect("a folder");
    if let Some(shown) = shown {
        let (chain, key) = (folder.path().join("chain"), folder.path().join("key"));
        std::fs::write(&chain, &shown.chain).expect("written");
        std::fs::write(&key, &shown.key).expect("written");
        command.arg("--cert").arg(chain).arg("--key").arg(key);
    }
    let output = command
        .arg("https://api.example.com/")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// What a script prints.
async fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().await;
    String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_learn_who_the_client_is_and_only_from_the_proxy() {
    let serving = Serving::new().await;
    let client = serving.ca.issue_with(&["cart.internal"], |params| {
        let uri = SanType::URI(URI.try_into().expect("a URI"));
        params.subject_alt_names.push(uri);
    });
    let stranger = Authority::new("Other CA").issue(&["cart.internal"]);
    let nameless = serving.ca.issue(&["other.internal"]);
    let asked = |mode: &str| {
        json!({
            "certificates": ["api"],
            "client_certificates": {
                "ca": "authority", "mode": mode,
                "subject_alt_names": [{"uri_prefix": "spiffe://example.com/ns/shop/"}],
            },
        })
    };
    for mode in ["REQUIRED", "OPTIONAL"] {
        let web = serving.listen(&mode.to_lowercase(), asked(mode)).await;
        for version in ["--http1.1", "--http2"] {
            let text = curl(web, &serving.ca, Some(&client), &[version]).await;
            let text = text.expect("an answer");
            let told = text
                .lines()
                .find_map(|line| line.strip_prefix("x-forwarded-client-cert: "))
                .expect("the field");
            let (hash, rest) = told.split_once(';').expect("two parts");
            assert_eq!(hash.len(), "Hash=".len() + 64, "{hash}");
            let expected = format!("Subject=\"CN=cart.internal\";URI={URI};DNS=cart.internal");
            assert!(rest.ends_with(&expected), "{rest}");
        }
        for bad in [&stranger, &nameless] {
            assert_eq!(curl(web, &serving.ca, Some(bad), &[]).await, None);
        }
        let nobody = curl(web, &serving.ca, None, &[]).await;
        match mode {
            "REQUIRED" => assert_eq!(nobody, None),
            _ => assert!(!nobody.expect("an answer").contains("client-cert")),
        }
    }
    for (listener, reason) in [
        ("required", "no_certificate"),
        ("required", "unknown_authority"),
        ("optional", "wrong_name"),
    ] {
        let sample = format!(
            "fleetway_listener_tls_failures_total{{listener=\"{listener}\",reason=\"{reason}\"}} 1"
        );
        assert!(serving.metric(&sample).await, "{sample}");
    }
}

/// Sends a request over a new connection; how the handshake went, and whether there was an answer.
async fn request(config: &Arc<rustls::ClientConfig>, at: SocketAddr) -> (HandshakeKind, bool) {
    let stream = TcpStream::connect(at).await.expect("a connection");
    let name = ServerName::try_from("api.example.com").expect("a name");
    let mut stream = TlsConnector::from(config.clone())
        .connect(name, stream)
        .await
        .expect("a handshake");
    let kind = stream.get_ref().1.handshake_kind().expect("a kind");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    // What the other side thinks of the certificate comes after the handshake.
    let mut answer = Vec::new();
    let sent = stream.write_all(request).await;
    let read = stream.read_to_end(&mut answer).await;
    let fine = sent.is_ok() && read.is_ok() && answer.starts_with(b"HTTP/1.1 200");
    (kind, fine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_outlives_the_authorities_it_was_verified_by_or_leaves_its_listener() {
    let serving = Serving::new().await;
    for version in ["TLS_1_2", "TLS_1_3"] {
        let tls = json!({
            "certificates": ["api"], "max_version": version,
            "client_certificates": {"ca": "authority"},
        });
        let name = version.replace('_', "-").to_lowercase();
        let web = serving.listen(&name, tls.clone()).await;
        let other = serving.listen(&format!("{name}-other"), tls).await;
        let client = serving.ca.issue(&["client"]);
        let config = Arc::new(serving.ca.client_config_with(&client));

        assert_eq!(request(&config, web).await, (HandshakeKind::Full, true));
        assert_eq!(request(&config, web).await, (HandshakeKind::Resumed, true));
        assert_eq!(request(&config, other).await, (HandshakeKind::Full, true));

        // A new certificate leaves sessions be.
        let again = serving.ca.issue(&["api.example.com"]).secret("api");
        let config = Arc::new(serving.ca.client_config_with(&client));
        assert_eq!(request(&config, web).await, (HandshakeKind::Full, true));
        serving.rest.commit_live(&[again], 1).await;
        assert_eq!(request(&config, web).await, (HandshakeKind::Resumed, true));

        let others = Authority::new("Other CA").secret("authority");
        serving.rest.commit_live(&[others], 1).await;
        if version == "TLS_1_3" {
            assert_eq!(request(&config, web).await, (HandshakeKind::Full, false));
        }
        let own = serving.ca.secret("authority");
        serving.rest.commit_live(&[own], 1).await;
        assert_eq!(request(&config, web).await, (HandshakeKind::Full, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_gives_one_ticket() {
    let serving = Serving::new().await;
    let web = serving
        .listen("web", json!({"certificates": ["api"]}))
        .await;
    let request = r"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let script =
        format!("printf '{request}' | openssl s_client -connect {web} -tls1_3 -ign_eof -msg 2>&1");
    let text = shell(&script).await;
    assert!(text.contains("HTTP/1.1 200 OK"), "{text}");
    assert_eq!(text.matches(", NewSessionTicket").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_protocols_are_those_of_the_listener() {
    let serving = Serving::new().await;
    let tls = json!({"certificates": ["api"], "min_version": "TLS_1_3", "alpn": ["http/1.1"]});
    let web = serving.listen("web", tls).await;
    assert_eq!(
        curl(web, &serving.ca, None, &["--tls-max", "1.2"]).await,
        None
    );
    let args = [
        "--http2",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version}",
    ];
    let version = curl(web, &serving.ca, None, &args).await;
    assert_eq!(version.as_deref(), Some("1.1"));
    let failed = "fleetway_listener_tls_failures_total{listener=\"web\",reason=\"incompatible\"} 1";
    assert!(serving.metric(failed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_finish_the_handshake_is_not_waited_for() {
    let serving = Serving::new().await;
    let tls = json!({"certificates": ["api"], "handshake_timeout": "50ms"});
    let web = serving.listen("web", tls).await;
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    stream.write_all(&[22, 3, 1]).await.expect("sent");
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    eventually("it is counted", async || {
        let failed = "fleetway_listener_tls_failures_total{listener=\"web\",reason=\"timeout\"} 1";
        serving.metric(failed).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_response_of_the_authority_is_stapled_and_the_end_of_certificates_is_told() {
    let serving = Serving::new().await;
    let web = serving
        .listen("web", json!({"certificates": ["api"]}))
        .await;
    let mut secret = serving.ca.issue(&["api.example.com"]).secret("api");
    secret["certificate"]["ocsp_response"] = json!("MAMKAQE=");
    serving.rest.commit_live(&[secret], 1).await;
    let script = format!("openssl s_client -connect {web} -status </dev/null 2>&1");
    let text = shell(&script).await;
    // OCSPResponse { responseStatus malformedRequest }, as RFC 6960 section 4.2.1 has it.
    assert!(
        text.contains("OCSP Response Status: malformedrequest"),
        "{text}"
    );

    let (_, metrics) = serving.proxy.page("/metrics").await;
    let sample = "fleetway_certificate_expiry_timestamp_seconds{secret=\"api\"} ";
    let until = metrics.lines().find_map(|line| line.strip_prefix(sample));
    assert!(until.expect("a gauge").parse::<u64>().expect("seconds") > 1_700_000_000);
    let (_, dump) = serving.proxy.page("/config_dump").await;
    assert!(
        dump.contains("\"dns_names\":[\"api.example.com\"]"),
        "{dump}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_refused_reads_the_alert_and_the_log_says_who_it_was_and_where() {
    let ca = Authority::new("Test CA");
    let folder = tempfile::tempdir().expect("a folder");
    let all = [
        ca.issue(&["api.example.com"]).secret("api"),
        ca.secret("authority"),
        json!({
            "kind": "Listener", "name": "inner", "address": "127.0.0.1:0", "http": {},
            "tls": {"certificates": ["api"], "client_certificates": {"ca": "authority"}},
        }),
    ];
    let all = all.map(|document| document.to_string()).join("\n---\n");
    write_private(&folder.path().join("all.yaml"), &all);
    let (resources, log) = (
        folder.path().to_str().expect("a path"),
        folder.path().join("log"),
    );
    let surroundings = Surroundings {
        log: Some(log.clone()),
        ..Surroundings::default()
    };
    let filter = "info,fleetway_proxy::connection=debug";
    let flags = [
        "--resources",
        resources,
        "--node-id",
        "local",
        "--log",
        filter,
    ];
    let proxy = Proxy::start_in(surroundings, &flags).await;
    let web = proxy.listener("inner").await;

    let stranger = Authority::new("Other CA").issue(&["cart.internal"]);
    let config = Arc::new(ca.client_config_with(&stranger));
    for _ in 0..20 {
        let stream = TcpStream::connect(web).await.expect("a connection");
        let name = ServerName::try_from("api.example.com").expect("a name");
        // To the client a handshake of TLS 1.3 is over before its certificate has been seen.
        let connecting = TlsConnector::from(config.clone()).connect(name, stream);
        let mut stream = connecting.await.expect("a handshake");
        stream.write_all(&[b'x'; 100_000]).await.expect("sent");
        stream.flush().await.expect("sent");
        let refused = stream.read_u8().await.expect_err("no byte").to_string();
        assert!(refused.contains("alert"), "{refused}");
    }
    let said = fs::read_to_string(&log).expect("a log");
    let line = said
        .lines()
        .find(|line| line.contains("no TLS with the client"));
    let line = line.expect("a line");
    for part in [
        "listener=inner",
        "reason=\"unknown_authority\"",
        "subject=\"CN=cart.internal\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
