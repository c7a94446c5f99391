//! Certificates of the server's own: which it takes, at the start and later.

use std::{fs, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rcgen::KeyPair;
use rustls::{
    AlertDescription, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    binary::{command, ended, rest},
    certificates::{Authority, Issued},
    support::write_private,
};

/// The files a server over TLS is started with.
struct Place {
    folder: TempDir,
    ca: Authority,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            ca: Authority::new(),
        };
        fs::write(place.path("ca.pem"), &place.ca.pem).unwrap();
        fs::write(place.path("crl.pem"), place.ca.crl(2999)).unwrap();
        place.put(&place.ca.issue("127.0.0.1", 2999));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, issued: &Issued) {
        fs::write(self.path("srv.pem"), &issued.chain).unwrap();
        write_private(&self.path("srv.key"), &issued.key);
    }

    /// Where a server that runs serves its discovery streams.
    fn xds(&self) -> String {
        let addresses = fs::read(self.path("data/addresses.json")).unwrap();
        let addresses: serde_json::Value = serde_json::from_slice(&addresses).unwrap();
        addresses["xds"].as_str().unwrap().to_owned()
    }

    fn not_yet(&self) -> Issued {
        let key = KeyPair::generate().unwrap();
        self.ca.issue_between(&key, "127.0.0.1", 2998, 2999)
    }

    fn command(&self) -> Command {
        let mut command = command(&self.path("data"));
        for (flag, file) in [
            ("--tls-cert", "srv.pem"),
            ("--tls-key", "srv.key"),
            ("--tls-client-ca", "ca.pem"),
            ("--tls-client-crl", "crl.pem"),
        ] {
            command.arg(flag).arg(self.path(file));
        }
        command
    }

    /// What a server that does not start says, with plain names of files.
    async fn refusal(&self) -> String {
        let output = ended(self.command()).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        said.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// A server that runs, with its log.
struct Server {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Server {
    async fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut this = Self { child, log };
        this.logs("serving").await;
        this
    }

    /// The next line of the log with this in it.
    async fn logs(&mut self, what: &str) -> String {
        let found = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(what) {
                    return line;
                }
            }
            panic!("it ended without {what}");
        };
        timeout(Duration::from_secs(60), found).await.expect(what)
    }

    async fn hang_up(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status().await;
        assert!(sent.unwrap().success());
    }
}

#[tokio::test]
async fn certificates_that_do_not_count_today_are_refused_at_the_start() {
    let place = Place::new();
    place.put(&place.ca.issue("127.0.0.1", 2021));
    let said = place.refusal().await;
    assert!(
        said.starts_with("fleetway-xds: tls_cert: srv.pem: the certificate of CN=")
            && said.contains(" expired at 2021-12-31T00:00:00Z: put a newer one in its place"),
        "{said}"
    );
    place.put(&place.not_yet());
    let said = place.refusal().await;
    assert!(
        said.contains("tls_cert: srv.pem: ")
            && said.contains(" counts from 2998-01-01T00:00:00Z only"),
        "{said}"
    );
    place.put(&place.ca.issue("127.0.0.1", 2999));
    fs::write(place.path("crl.pem"), place.ca.crl(2021)).unwrap();
    let said = place.refusal().await;
    assert!(
        said.contains(
            "tls_client_crl: crl.pem: the list of CN=An authority was to be renewed by 2021-12-31"
        ),
        "{said}"
    );
    fs::write(place.path("crl.pem"), Authority::new().crl(2999)).unwrap();
    let said = place.refusal().await;
    assert!(
        said.contains("tls_client_crl: crl.pem: the list of CN=An authority is not signed"),
        "{said}"
    );
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_with_both_files() {
    let place = Place::new();
    let other = place.ca.issue("127.0.0.1", 2999);
    write_private(&place.path("srv.key"), &other.key);
    let said = place.refusal().await;
    assert!(
        said.starts_with("fleetway-xds: tls_key: srv.key (with tls_cert: srv.pem): is not the key of the first certificate of the chain"),
        "{said}"
    );
    other.not_in(&said);
}

#[tokio::test]
async fn certificates_that_do_not_count_today_are_not_taken_over() {
    let place = Place::new();
    let mut server = Server::start(place.command()).await;
    let believing = reqwest::Certificate::from_pem(place.ca.pem.as_bytes()).unwrap();
    let answers = async || {
        let client = reqwest::Client::builder()
            .tls_certs_only([believing.clone()])
            .build()
            .unwrap();
        let address = rest(&place.path("data")).replace("http://", "https://");
        let answer = client.get(format!("{address}/healthz")).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    };
    answers().await;
    for (issued, told) in [
        (place.ca.issue("127.0.0.1", 2021), "expired at 2021-12-31"),
        (place.not_yet(), "counts from 2998-01-01"),
    ] {
        place.put(&issued);
        server.hang_up().await;
        let line = server.logs(told).await;
        assert!(
            line.contains("ERROR") && line.contains("those before stay"),
            "{line}"
        );
        answers().await;
    }
    place.put(&place.ca.issue("127.0.0.1", 2999));
    server.hang_up().await;
    server.logs("took over changed certificates").await;
    answers().await;
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_to_read_why_it_is_refused() {
    let place = Place::new();
    let _server = Server::start(place.command()).await;
    let mut believed = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(place.ca.pem.as_bytes()) {
        believed.add(authority.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(believed)
        .with_no_client_auth();
    let stream = TcpStream::connect(place.xds()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    // Its part of the handshake is over, so it may speak; what it says is not what it is told for.
    stream.write_all(&[0; 100_000]).await.unwrap();
    stream.flush().await.unwrap();
    // By reset the connection would end with an error.
    let (mut bare, mut session) = stream.into_inner();
    let mut said = Vec::new();
    bare.read_to_end(&mut said).await.unwrap();
    session.read_tls(&mut said.as_slice()).unwrap();
    let error = session.process_new_packets().unwrap_err();
    assert_eq!(
        error,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired)
    );
}

#[tokio::test]
async fn the_same_failure_of_the_same_peer_is_logged_once() {
    let place = Place::new();
    let mut server = Server::start(place.command()).await;
    let address = place.xds();
    let fail = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // It is logged before the connection ends.
        let _alert_or_reset = stream.read_to_end(&mut Vec::new()).await;
    };
    for _ in 0..7 {
        fail(b"GET / HTTP/1.1\r\n\r\n").await;
    }
    // Something else about the same peer is told.
    fail(b"\x16\x03\x01\0\x04\x01\0\0\0").await;
    let first = server.logs("a handshake failed").await;
    let second = server.logs("a handshake failed").await;
    assert!(first.contains("InvalidContentType"), "{first}");
    assert!(!second.contains("InvalidContentType"), "{second}");
}
