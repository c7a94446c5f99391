//! What the programs say of what goes on, so that whoever reads their logs knows what to do.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Authority, Issued, Peer, Proxy, Server, Surroundings, documents, eventually, run_shell,
    write_private,
};

/// A folder in which programs log, and have their files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; its path.
    fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        write_private(&path, content);
        text(&path)
    }

    /// The chain and the key of a certificate, as files.
    fn identity(&self, name: &str, issued: &Issued) -> [String; 2] {
        [
            self.write(&format!("{name}.pem"), &issued.chain),
            self.write(&format!("{name}.key"), &issued.key),
        ]
    }

    fn logging(&self, name: &str) -> Surroundings {
        Surroundings {
            log: Some(self.path(name)),
            ..Surroundings::default()
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a log")
    }

    /// Waits for a line that has all of this; the line.
    async fn line(&self, name: &str, all: &[&str]) -> String {
        eventually(&format!("{all:?} in {name}"), async || {
            let log = self.log(name);
            let found = log
                .lines()
                .find(|line| all.iter().all(|part| line.contains(part)));
            found.map(ToOwned::to_owned)
        })
        .await
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_ends_neither_program_and_both_say_what_is_read_again() {
    let place = Place::new();
    let server = Server::start_in(&place.logging("server"), &[]).await;
    let xds = format!("http://{}", server.xds);
    let flags = ["--xds", &xds, "--node-id", "p1"];
    let proxy = Proxy::start_in(place.logging("proxy"), &flags).await;
    server.signal("HUP");
    proxy.signal("HUP");
    place
        .line("server", &["SIGHUP: there are no certificates"])
        .await;
    let said = ["SIGHUP: there is nothing to read again", "SIGUSR2"];
    place.line("proxy", &said).await;
    let rest = server.client();
    let all = [documents::listener("web")];
    rest.commit_live(&all, 1).await;
    proxy.listener("web").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_past_its_time_is_told_of_when_it_is_loaded_and_when_it_expires() {
    let place = Place::new();
    let ca = Authority::new("Test CA");
    let until = |end: SystemTime| ca.issue_with(&["a.example.com"], |it| it.not_after = end.into());
    let now = SystemTime::now();
    let folder = TempDir::new().expect("a folder");
    let all = [
        until(now - Duration::from_secs(3600)).secret("past"),
        until(now + Duration::from_secs(4)).secret("passing"),
        ca.issue(&["b.example.com"]).secret("good"),
        json!({
            "kind": "Listener", "name": "web", "address": "127.0.0.1:0", "http": {},
            "tls": {"certificates": ["past", "passing", "good"]},
        }),
    ];
    let all = all.map(|document| document.to_string()).join("\n---\n");
    write_private(&folder.path().join("all.yaml"), &all);
    let resources = text(folder.path());
    let flags = ["--resources", &resources, "--node-id", "local"];
    let proxy = Proxy::start_in(place.logging("proxy"), &flags).await;
    // It is served all the same.
    proxy.listener("web").await;
    for secret in ["past", "passing"] {
        let secret = format!("secret={secret}");
        let said = [
            "WARN",
            &secret,
            "the certificate of CN=a.example.com expired at 20",
        ];
        place.line("proxy", &said).await;
    }
    let log = place.log("proxy");
    assert_eq!(log.matches("in force all the same").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_in_place_of_a_server_is_told_from_a_server_that_refuses() {
    let place = Place::new();
    let (ca, stranger) = (Authority::new("Test CA"), Authority::new("Other CA"));
    let authority = text(&ca.file());
    let [cert, key] = place.identity("server", &ca.issue(&["127.0.0.1"]));
    let [foreign, foreign_key] = place.identity("foreign", &stranger.issue_identity("fleet/blue"));
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let asks = [&tls[..], &["--tls-client-ca", &authority]].concat();
    let server = Server::start_in(&Surroundings::default(), &asks).await;
    let plain = Server::start().await;
    let nginx = Peer::nginx(false, "location / { return 200; }").await;
    let nginx2 = Peer::nginx(true, "location / { return 200; }").await;
    let believes = ["--xds-ca", &authority];
    let other = text(&stranger.file());
    let believes_another = ["--xds-ca", &other];
    let shows = [
        &believes[..],
        &["--xds-cert", &foreign, "--xds-key", &foreign_key],
    ]
    .concat();
    let no_server =
        "is what answers there a discovery server? Its address is --xds of fleetway-xds";
    let handshake = "does the server want another --xds-cert? Its log says why";
    for (address, flags, says) in [
        (
            format!("http://{}", server.xds),
            &[][..],
            "where it has a certificate, write https://",
        ),
        (format!("https://{}", server.rest), &believes, no_server),
        (
            format!("http://{}", plain.rest),
            &[],
            "--xds of fleetway-xds (7081)",
        ),
        (
            format!("http://{}", nginx.address),
            &[],
            "--xds of fleetway-xds (7081)",
        ),
        (format!("http://{}", nginx2.address), &[], no_server),
        (
            format!("https://{}", plain.xds),
            &believes,
            "speaks no TLS: write http://",
        ),
        (format!("https://{}", server.xds), &believes, handshake),
        (format!("https://{}", server.xds), &shows, handshake),
        (
            format!("https://{}", server.xds),
            &believes_another,
            "none of the authorities of --xds-ca issued the server's certificate",
        ),
    ] {
        let all = [&["--xds", &address, "--node-id", "p1"], flags].concat();
        let proxy = Proxy::start(&all).await;
        eventually(&format!("{address} {flags:?}: {says}"), async || {
            let (_, page) = proxy.page("/config_dump").await;
            page.contains(says).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_refused_is_none_that_is_connected_and_a_silent_one_is_told_of() {
    let place = Place::new();
    let ca = Authority::new("Test CA");
    let authority = text(&ca.file());
    let [cert, key] = place.identity("server", &ca.issue(&["127.0.0.1"]));
    let asks = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &authority,
    ];
    let server = Server::start_in(&Surroundings::default(), &asks).await;
    let [shown, shown_key] = place.identity("p1", &ca.issue_identity("fleet/blue/node/p1"));
    let xds = format!("https://{}", server.xds);
    let trust = [
        "--xds-ca",
        &authority,
        "--xds-cert",
        &shown,
        "--xds-key",
        &shown_key,
    ];
    let claims = ["--xds", &xds, "--fleet", "blue", "--node-id", "p2"];
    let denied = [&trust[..], &claims].concat();
    let _denied = Proxy::start_in(place.logging("denied"), &denied).await;
    place.line("denied", &["PermissionDenied"]).await;
    let log = place.log("denied");
    assert!(!log.contains("connected to the management server"), "{log}");

    // One that lost its store takes the stream, and has nothing to send to who has something.
    let mut other = Server::start().await;
    let xds = format!("http://{}", other.xds);
    let waits = ["--xds", &xds, "--node-id", "p1"];
    let proxy = Proxy::start_in(place.logging("waits"), &waits).await;
    let all = [documents::listener("web")];
    other.client().commit_live(&all, 1).await;
    place
        .line("waits", &["connected to the management server"])
        .await;
    other.lose_store().await;
    let said = ["WARN", "has sent nothing for 5 s", "`fleetway status`"];
    place.line("waits", &said).await;
    let (_, dump) = proxy.page("/config_dump").await;
    assert!(dump.contains("has sent nothing for 5 s"), "{dump}");
    let log = place.log("waits");
    let connected = log.matches("connected to the management server");
    assert_eq!(connected.count(), 1, "{log}");
    other.client().commit_live(&all, 1).await;
    eventually("it is connected again", async || {
        let log = place.log("waits");
        let connected = log.matches("connected to the management server");
        (connected.count() == 2).then_some(())
    })
    .await;
    let (_, dump) = proxy.page("/config_dump").await;
    assert!(!dump.contains("has sent nothing"), "{dump}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_bad_at_the_start_end_the_program_and_later_ones_are_told_of() {
    let place = Place::new();
    let ca = Authority::new("Test CA");
    let authority = text(&ca.file());
    let [cert, key] = place.identity("server", &ca.issue(&["127.0.0.1"]));
    let [shown, shown_key] = place.identity("p1", &ca.issue_identity("fleet/default/node/p1"));
    let asks = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &authority,
    ];
    let open = place.write("open.key", &fs::read_to_string(&shown_key).expect("a key"));
    fs::set_permissions(&open, fs::Permissions::from_mode(0o604)).expect("a mode");
    let mut server = Server::start_in(&Surroundings::default(), &asks).await;
    let xds = format!("https://{}", server.xds);
    let trust = |ca: &str, cert: &str, key: &str| {
        ["--xds-ca", ca, "--xds-cert", cert, "--xds-key", key].map(ToOwned::to_owned)
    };
    for (trust, says) in [
        (
            trust("none.pem", &shown, &shown_key),
            "xds_ca: cannot read none.pem: ",
        ),
        (trust(&key, &shown, &shown_key), "holds no certificate"),
        (
            trust(&authority, &shown, &key),
            "is not the key of the first certificate",
        ),
        (
            trust(&authority, &shown, &open),
            "is open to others (mode 0604)",
        ),
        (trust(&authority, &shown, &authority), "xds_key: "),
    ] {
        let trust = trust.join(" ");
        let command = format!(
            "fleetway-proxy --xds {xds} --node-id p1 --admin 127.0.0.1:0 --state state {trust}"
        );
        let (code, said) = run_shell(server.rest, place.0.path(), &command).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(says), "{says}: {said}");
    }
    let flags = ["--xds", &xds, "--node-id", "p1"].map(ToOwned::to_owned);
    let all = [&flags[..], &trust(&authority, &shown, &shown_key)].concat();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let _proxy = Proxy::start_in(place.logging("proxy"), &all).await;
    place.write("p1.key", "nothing");
    server.kill().await;
    let said = [
        "no configuration from the server",
        "xds_key: ",
        "holds no private key",
    ];
    place.line("proxy", &said).await;
}
