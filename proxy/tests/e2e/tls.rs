//! TLS towards clients, tried with those that people have.

use std::{net::SocketAddr, process::Stdio};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Authority, Proxy, Rest, Server, documents};

fn tls_listener(name: &str, certificates: &[&str]) -> Value {
    let mut listener = documents::listener(name);
    listener["tls"] = json!({"certificates": certificates});
    listener
}

/// Runs curl for `https://HOST/` at the listener; what it prints of `%{format}`.
async fn curl(at: SocketAddr, ca: &Authority, host: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .arg("--cacert")
        .arg(ca.file())
        .args(["--connect-to", &format!("::{}:{}", at.ip(), at.port())])
        .args(args)
        .arg(format!("https://{host}/"))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("curl runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The certificate the listener shows: what openssl prints of its subject.
async fn shown(at: SocketAddr, host: &str) -> String {
    let script = format!(
        "openssl s_client -connect {at} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -subject -serial"
    );
    let output = Command::new("sh").args(["-c", &script]).output().await;
    String::from_utf8_lossy(&output.expect("openssl runs").stdout).into_owned()
}

async fn serving(rest: &Rest, proxy: &Proxy, secrets: &[Value]) -> SocketAddr {
    let names: Vec<&str> = secrets
        .iter()
        .map(|secret| secret["name"].as_str().expect("a name"))
        .collect();
    let mut all = secrets.to_vec();
    all.push(tls_listener("web", &names));
    all.push(documents::respond("hello", "/", "hello"));
    rest.commit_live(&all, 1).await;
    proxy.listener("web").await
}

#[tokio::test]
async fn curl_gets_its_answer_over_both_versions_and_the_certificate_of_the_name_it_asks_for() {
    let ca = Authority::new("Test CA");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let secrets = [
        ca.issue(&["api.example.com"]).secret("api"),
        ca.issue(&["*.example.org"]).secret("org"),
    ];
    let web = serving(&server.client(), &proxy, &secrets).await;

    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let args = [flag, "--write-out", " over HTTP/%{http_version}"];
        for host in ["api.example.com", "any.example.org"] {
            let expected = (true, format!("hello over HTTP/{version}"));
            assert_eq!(curl(web, &ca, host, &args).await, expected, "{host}");
        }
    }
    for (flag, max) in [("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")] {
        let args = [flag, "--tls-max", max];
        assert_eq!(
            curl(web, &ca, "api.example.com", &args).await,
            (true, "hello".to_owned())
        );
    }
    let (fine, told) = curl(web, &ca, "elsewhere.example.net", &[]).await;
    assert!(
        !fine && told.contains("no alternative certificate subject name"),
        "{told}"
    );
    assert!(
        shown(web, "a.b.example.org")
            .await
            .contains("CN = api.example.com")
    );
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_the_next_client_and_no_connection_is_closed() {
    let ca = Authority::new("Test CA");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let first = ca.issue(&["api.example.com"]).secret("api");
    let web = serving(&rest, &proxy, &[first]).await;
    let before = shown(web, "api.example.com").await;

    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(ca.client_config())
        .resolve("api.example.com", web)
        .build()
        .expect("a client");
    let url = format!("https://api.example.com:{}/", web.port());
    let ask = async || {
        client
            .get(&url)
            .send()
            .await
            .expect("an answer")
            .text()
            .await
    };
    assert_eq!(ask().await.expect("a text"), "hello");

    let second = ca.issue(&["api.example.com"]).secret("api");
    rest.commit_live(&[second], 1).await;
    assert_ne!(shown(web, "api.example.com").await, before);
    assert_eq!(ask().await.expect("a text"), "hello");
    let (_, metrics) = proxy.page("/metrics").await;
    // One of the client that stayed, two of openssl.
    assert!(
        metrics.contains("fleetway_listener_connections_total{listener=\"web\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_key_is_shown_neither_by_the_server_nor_by_the_proxy() {
    let ca = Authority::new("Test CA");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let issued = ca.issue(&["api.example.com"]);
    serving(&rest, &proxy, &[issued.secret("api")]).await;
    let line = issued.key.lines().nth(1).expect("a key");
    let dump = proxy.page("/config_dump").await.1;
    let read = rest.get("/v1/secrets/api").await.to_string();
    let revision = rest.get("/v1/revisions/1").await.to_string();
    for text in [dump, read, revision] {
        assert!(text.contains("[redacted sha256:"), "{text}");
        assert!(!text.contains(line), "{text}");
    }
}
