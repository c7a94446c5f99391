//! Certificates that are revoked, towards clients and upstreams.

use std::{net::SocketAddr, sync::Arc};

use rustls::{HandshakeKind, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    Authority, Issued, Nginx, Proxy, Server, ask, documents, eventually, fleetway, write_private,
};

async fn counted(proxy: &Proxy, sample: &str) -> u64 {
    let (_, metrics) = proxy.page("/metrics").await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(sample));
    value.map_or(0, |value| value.trim().parse().expect("a number"))
}

/// A connection with a certificate to a listener over TLS; nothing if the handshake fails.
async fn connect(
    config: &Arc<rustls::ClientConfig>,
    at: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(at).await.expect("a connection");
    let name = ServerName::try_from("api.example.com").expect("a name");
    let connector = TlsConnector::from(config.clone());
    connector.connect(name, stream).await.ok()
}

/// Whether a request on a connection is answered, and the connection goes on.
async fn answered(stream: &mut TlsStream<TcpStream>) -> bool {
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        match stream.read_buf(&mut answer).await {
            Ok(1..) => {}
            _ => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}

/// The listener of the tests: whoever has a certificate of `clients` is answered.
fn listener(ca: &Authority) -> [Value; 3] {
    let mut listener = documents::listener("web");
    listener["tls"] = json!({"certificates": ["api"], "client_certificates": {"ca": "clients"}});
    [
        ca.issue(&["api.example.com"]).secret("api"),
        listener,
        documents::respond("hello", "/", "hello"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_refused_from_the_revision_on_that_revokes_its_certificate() {
    let (ca, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let (one, two) = (clients.issue(&["one"]), clients.issue(&["two"]));
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let none = clients.secret_with_crls("clients", &[clients.crl(&[], 2998)]);
    let first = [&listener(&ca)[..], std::slice::from_ref(&none)].concat();
    rest.commit_live(&first, 1).await;
    let web = proxy.listener("web").await;

    let config = |shown: &Issued| Arc::new(ca.client_config_with(shown));
    let (first, second) = (config(&one), config(&two));
    let mut open = connect(&first, web).await.expect("a handshake");
    assert!(answered(&mut open).await);
    let mut again = connect(&first, web).await.expect("a handshake");
    assert!(answered(&mut again).await);
    let kind = again.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));

    let revoked = clients.secret_with_crls("clients", &[clients.crl(&[&one], 2998)]);
    rest.commit_live(&[revoked], 1).await;
    // What is open stays; a session is not resumed, and a new one is refused.
    assert!(answered(&mut open).await);
    for config in [first.clone(), config(&one)] {
        let stream = connect(&config, web).await;
        let refused = match stream {
            Some(mut stream) => !answered(&mut stream).await,
            None => true,
        };
        assert!(refused, "the session too");
    }
    let mut other = connect(&second, web).await.expect("a handshake");
    assert!(answered(&mut other).await);
    let failures = "fleetway_listener_tls_failures_total{listener=\"web\",reason=\"revoked\"}";
    assert_eq!(counted(&proxy, failures).await, 2);

    rest.commit_live(&[none], 1).await;
    let mut back = connect(&config(&one), web).await.expect("a handshake");
    assert!(answered(&mut back).await, "a list can take it back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_no_current_list_speaks_of_is_refused() {
    let (ca, root) = (Authority::new("Test CA"), Authority::new("Root CA"));
    let issuing = root.subordinate("Issuing CA");
    let client = issuing.issue(&["one"]);
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let (of_root, of_issuing) = (root.crl(&[], 2999), issuing.crl(&[], 2999));
    let both = root.secret_with_crls("clients", &[of_root.clone(), of_issuing.clone()]);
    let first = [&listener(&ca)[..], std::slice::from_ref(&both)].concat();
    rest.commit_live(&first, 1).await;
    let web = proxy.listener("web").await;

    let forged = Authority::new("Issuing CA").crl(&[], 2999);
    let alone = root.secret_with_crls("clients", std::slice::from_ref(&of_issuing));
    let mut leaf = alone.clone();
    leaf["ca"]["only_verify_leaf_crl"] = json!(true);
    let mut refused = 0;
    for (secret, taken) in [
        (both, true),
        (
            root.secret_with_crls("clients", std::slice::from_ref(&of_root)),
            false,
        ),
        (root.secret_with_crls("clients", &[of_root, forged]), false),
        (leaf, true),
    ] {
        rest.commit_live(std::slice::from_ref(&secret), 1).await;
        let config = Arc::new(ca.client_config_with(&client));
        let mut stream = connect(&config, web).await;
        let answered = match &mut stream {
            Some(stream) => answered(stream).await,
            None => false,
        };
        assert_eq!(answered, taken, "{secret:#}");
        refused += u64::from(!taken);
        let failures =
            "fleetway_listener_tls_failures_total{listener=\"web\",reason=\"revocation_unknown\"}";
        assert_eq!(counted(&proxy, failures).await, refused);
    }
    // Of the authority itself there has to be one, or nobody would be let in.
    let (status, told) = rest
        .try_transaction(&[alone], &[])
        .await
        .expect("an answer");
    let told = told.to_string();
    assert!(
        status == 422 && told.contains("holds no list of CN=Root CA: every certificate it issued"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_past_its_time_vouches_for_nobody_and_is_pointed_out() {
    let (ca, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let late = clients.secret_with_crls("clients", &[clients.crl(&[], 2021)]);
    let server = Server::start().await;
    let (status, refused) = server
        .client()
        .try_transaction(std::slice::from_ref(&late), &[])
        .await
        .expect("an answer");
    let told = refused.to_string();
    assert_eq!(status, 422, "{told}");
    assert!(
        told.contains("ca.crls") && told.contains("was to be renewed by 2021-12-31"),
        "{told}"
    );
    let current = clients.secret_with_crls("clients", &[clients.crl(&[], 2998)]);
    server.client().commit(&[current], &[]).await;
    let (_, out, _) = fleetway(server.rest, &["get", "secrets"]).await;
    assert!(
        out.contains("ca CN=Client CA +1 CRL") && out.contains("2998-12-31T00:00:00Z (CRL)"),
        "{out}"
    );
    let metrics = format!("http://{}/metrics", server.rest);
    let metrics = reqwest::get(metrics).await.expect("metrics");
    let metrics = metrics.text().await.expect("a text");
    let sample = "fleetway_crl_expiry_timestamp_seconds{secret=\"clients\"} 32472057600";
    assert!(metrics.contains(sample), "{metrics}");

    // One that runs out where it is in use: a folder is read as it is.
    let folder = tempfile::tempdir().expect("a folder");
    let all = [&listener(&ca)[..], &[late]].concat();
    let all = serde_json::to_string(&all).expect("JSON");
    write_private(&folder.path().join("all.json"), &all);
    let proxy = Proxy::of_folder(folder.path()).await;
    let web = proxy.listener("web").await;
    let client = clients.issue(&["one"]);
    let config = Arc::new(ca.client_config_with(&client));
    let refused = match connect(&config, web).await {
        Some(mut stream) => !answered(&mut stream).await,
        None => true,
    };
    assert!(refused);
    let failures =
        "fleetway_listener_tls_failures_total{listener=\"web\",reason=\"revocation_unknown\"}";
    assert_eq!(counted(&proxy, failures).await, 1);
    let (_, dump) = proxy.page("/config_dump").await;
    assert!(
        dump.contains("\"crls\":[{\"issuer\":\"CN=Client CA\",\"revoked\":0,\"next_update\":\"2021-12-31T00:00:00Z\"}]"),
        "{dump}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_whose_certificate_is_revoked_gets_no_request() {
    let ca = Authority::new("Test CA");
    let certificate = ca.issue(&["users.internal"]);
    let nginx = Nginx::showing(&certificate, "").await;
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let cluster = |name: &str, tls: Value| {
        let mut cluster = documents::cluster(name, nginx.address);
        cluster["tls"] = tls;
        let route = documents::forward(name, &format!("/{name}/"), name);
        [cluster, route]
    };
    let by_name = json!({"ca": "authority", "server_name": "users.internal"});
    let listed = json!({"ca": "authority", "subject_alt_names": [{"dns": "users.internal"}]});
    let good = ca.secret_with_crls("authority", &[ca.crl(&[], 2999)]);
    let all = [
        &[documents::listener("web"), good.clone()][..],
        &cluster("name", by_name),
        &cluster("list", listed),
    ]
    .concat();
    rest.commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    let mut status = async |name: &str| {
        let request = format!("GET /{name}/ HTTP/1.1\r\nhost: x\r\n\r\n");
        ask(&mut stream, &request).await.0
    };
    let revoked = ca.secret_with_crls("authority", &[ca.crl(&[&certificate], 2999)]);
    for (secret, expected) in [(good.clone(), 200), (revoked, 503), (good, 200)] {
        rest.commit_live(&[secret], 1).await;
        for name in ["name", "list"] {
            assert_eq!(status(name).await, expected, "{name}");
        }
    }
    for name in ["name", "list"] {
        let sample =
            format!("fleetway_cluster_tls_failures_total{{cluster=\"{name}\",reason=\"revoked\"}}");
        eventually("it is counted", async || {
            (counted(&proxy, &sample).await == 1).then_some(())
        })
        .await;
    }
}
