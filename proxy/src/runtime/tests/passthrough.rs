//! TLS passed on by the name the client asks for.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// An upstream with a certificate for `name`, that says it; and who would believe it.
async fn speaking(name: &'static str, roots: &mut RootCertStore) -> SocketAddr {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(name.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

/// What the one who answers for `name` says, its certificate checked.
async fn ask(at: SocketAddr, name: &str, roots: &RootCertStore) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(at).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn yaml(one: SocketAddr, two: SocketAddr) -> String {
    format!(
        "{{kind: Listener, name: web, address: '127.0.0.1:0', tls_passthrough: {{hello_timeout: 200ms, servers: [\
           {{server_names: [one.test], clusters: [{{name: one}}]}}, \
           {{server_names: ['*.two.test'], clusters: [{{name: two}}]}}]}}}}\n---\n\
         {{kind: Cluster, name: one, endpoints: [{{address: '{one}'}}]}}\n---\n\
         {{kind: Cluster, name: two, endpoints: [{{address: '{two}'}}]}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_is_answered_by_the_upstream_that_has_it() {
    let mut roots = RootCertStore::empty();
    let one = speaking("one.test", &mut roots).await;
    let two = speaking("api.two.test", &mut roots).await;
    let runtime = Arc::new(Runtime::start(1).unwrap());
    apply(&runtime, 1, &yaml(one, two)).await.unwrap();
    let at = address(&runtime, "web");
    for name in ["one.test", "api.two.test"] {
        assert_eq!(ask(at, name, &roots).await.unwrap(), name);
    }
    let shard = |of: fn(&crate::telemetry::ListenerShard) -> u64| {
        let snapshot = runtime.snapshot();
        of(snapshot
            .listeners
            .values()
            .next()
            .unwrap()
            .counters
            .shard(0))
    };
    ask(at, "three.test", &roots).await.unwrap_err();
    assert_eq!(shard(|s| s.no_route.get()), 1);
    // An address is no name: nothing is asked for.
    ask(at, "127.0.0.1", &roots).await.unwrap_err();
    assert_eq!(shard(|s| s.no_route.get()), 2);

    let default = yaml(one, two).replace("200ms,", "200ms, default_clusters: [{name: one}],");
    apply(&runtime, 2, &default).await.unwrap();
    let error = ask(at, "three.test", &roots).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_hello_in_time_is_refused() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let runtime = Arc::new(Runtime::start(1).unwrap());
    apply(&runtime, 1, &yaml(nobody, nobody)).await.unwrap();
    let at = address(&runtime, "web");
    // HTTP; part of a record; a record that goes on for longer than any hello.
    let endless = [
        &b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03"[..],
        &[0; 20_000],
    ]
    .concat();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", &endless] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    }
    let snapshot = runtime.snapshot();
    let counters = &snapshot.listeners.values().next().unwrap().counters;
    // Counted once the connection has ended.
    super::tcp::until(|| counters.shard(0).protocol_errors.get() == 3).await;
}
