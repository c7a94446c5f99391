//! Proxies are who their certificates say, and get what is theirs.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Authority, Issued, Proxy, Server, Surroundings, documents, eventually, run_shell, write_private,
};

/// A server over TLS that asks proxies for certificates.
struct Secure {
    ca: Authority,
    folder: TempDir,
    server: Server,
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

impl Secure {
    async fn with(ca: Authority, flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let surroundings = Surroundings {
            log: Some(folder.path().join("log")),
            ..Surroundings::default()
        };
        let issued = ca.issue(&["127.0.0.1"]);
        let (cert, key) = (folder.path().join("xds.pem"), folder.path().join("xds.key"));
        write_private(&cert, &issued.chain);
        write_private(&key, &issued.key);
        let (cert, key, authority) = (text(&cert), text(&key), text(&ca.file()));
        let tls = [
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
            "--tls-client-ca",
            &authority,
        ];
        let server = Server::start_in(&surroundings, &[&tls, flags].concat()).await;
        Self { ca, folder, server }
    }

    /// A proxy that says it is `node` of `fleet` and shows a certificate.
    async fn proxy(&self, node: &str, fleet: &str, shown: &Issued) -> Proxy {
        let place = |end: &str| self.folder.path().join(format!("{node}-{fleet}.{end}"));
        write_private(&place("pem"), &shown.chain);
        write_private(&place("key"), &shown.key);
        let (cert, key) = (text(&place("pem")), text(&place("key")));
        let (authority, xds) = (
            text(&self.ca.file()),
            format!("https://{}", self.server.xds),
        );
        Proxy::start(&[
            "--xds",
            &xds,
            "--xds-ca",
            &authority,
            "--xds-cert",
            &cert,
            "--xds-key",
            &key,
            "--node-id",
            node,
            "--fleet",
            fleet,
        ])
        .await
    }

    async fn fleetway(&self, command: &str) -> String {
        let authority = text(&self.ca.file());
        let command = format!(
            "fleetway --server https://{} --ca {authority} {command}",
            self.server.rest
        );
        run_shell(self.server.rest, self.folder.path(), &command)
            .await
            .1
    }

    async fn metrics(&self) -> String {
        let authority = text(&self.ca.file());
        let command = format!(
            "curl -s --cacert {authority} https://{}/metrics",
            self.server.rest
        );
        run_shell(self.server.rest, self.folder.path(), &command)
            .await
            .1
    }

    /// Waits until the server's log says this.
    async fn logs(&self, what: &str) {
        let log = self.folder.path().join("log");
        eventually(what, async || {
            let log = std::fs::read_to_string(&log).expect("a log");
            log.contains(what).then_some(())
        })
        .await;
    }

    async fn connected(&self, nodes: &[&str]) {
        eventually("the nodes are connected", async || {
            let out = self.fleetway("get nodes").await;
            nodes.iter().all(|node| out.contains(node)).then_some(())
        })
        .await;
    }
}

/// Waits until the proxy says this of its server.
async fn says(proxy: &Proxy, what: &str) {
    eventually(what, async || {
        let (_, page) = proxy.page("/config_dump").await;
        page.contains(what).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_another_node_or_fleet_than_its_certificate_names_gets_nothing() {
    let secure = Secure::with(Authority::new("Test CA"), &[]).await;
    let one = secure.ca.issue_identity("fleet/blue/node/p1");
    let any = secure.ca.issue_identity("fleet/blue");
    let nameless = secure.ca.issue(&["p1.example.com"]);

    let mut listener = documents::listener("web");
    listener["tls"] = json!({"certificates": ["web"]});
    listener["fleets"] = json!(["blue"]);
    let mut secret = secure.ca.issue(&["api.example.com"]).secret("web");
    secret["fleets"] = json!(["blue"]);
    let all = json!([secret, listener]).to_string();
    write_private(&secure.folder.path().join("all.json"), &all);
    let out = secure.fleetway("apply -f all.json").await;
    assert!(out.contains("revision 1"), "{out}");

    let p1 = secure.proxy("p1", "blue", &one).await;
    let p7 = secure.proxy("p7", "blue", &any).await;
    for (proxy, node) in [(&p1, "p1"), (&p7, "p7")] {
        proxy.listener("web").await;
        secure.connected(&[node]).await;
    }
    let refused = [
        (
            "p2",
            "blue",
            &one,
            "it allows node \\\"p1\\\" of fleet \\\"blue\\\"",
        ),
        (
            "p1",
            "green",
            &one,
            "does not allow node \\\"p1\\\" of fleet \\\"green\\\"",
        ),
        (
            "p3",
            "green",
            &any,
            "it allows any node of fleet \\\"blue\\\"",
        ),
        (
            "p4",
            "blue",
            &nameless,
            "it has no URI name of the form spiffe://",
        ),
    ];
    for (node, fleet, shown, told) in refused {
        let proxy = secure.proxy(node, fleet, shown).await;
        says(&proxy, "PermissionDenied").await;
        says(&proxy, told).await;
        let (_, page) = proxy.page("/config_dump").await;
        assert!(page.contains("\"resources\":[]"), "{page}");
    }
    let nodes = secure.fleetway("get nodes").await;
    for node in ["p2", "p3", "p4", "green"] {
        assert!(!nodes.contains(node), "{nodes}");
    }
    let metrics = secure.metrics().await;
    let denied = metrics
        .lines()
        .find_map(|line| line.strip_prefix("fleetway_xds_streams_denied_total "))
        .expect("the counter");
    assert!(denied.parse::<u64>().expect("a number") >= 4, "{denied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_identities_any_certificate_of_the_authority_that_is_not_revoked_does() {
    let ca = Authority::new("Test CA");
    let (good, bad) = (ca.issue(&["good"]), ca.issue(&["bad"]));
    let folder = TempDir::new().expect("a folder");
    let list = folder.path().join("crl.pem");
    write_private(&list, &ca.crl(&[], 2999));
    let flags = [
        "--tls-client-identity",
        "off",
        "--tls-client-crl",
        &text(&list),
    ];
    let secure = Secure::with(ca, &flags).await;
    let _good = secure.proxy("good", "blue", &good).await;
    let first = secure.proxy("bad", "blue", &bad).await;
    secure.connected(&["good", "bad"]).await;
    drop(first);

    write_private(&list, &secure.ca.crl(&[&bad], 2999));
    secure.server.signal("HUP");
    secure.logs("took over changed certificates").await;
    let _again = secure.proxy("bad", "green", &bad).await;
    secure.logs("invalid peer certificate: Revoked").await;
    let nodes = secure.fleetway("get nodes").await;
    assert!(!nodes.contains("green"), "{nodes}");
    let out = secure.fleetway("status").await;
    assert!(out.contains("good"), "open streams stay: {out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_proxy_that_others_can_read_is_not_used() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let mut secure = Secure::with(Authority::new("Test CA"), &[]).await;
    let shown = secure.ca.issue_identity("fleet/blue/node/p1");
    let proxy = secure.proxy("p1", "blue", &shown).await;
    secure.connected(&["p1"]).await;
    // It was good at the start: from then on it is tried again.
    let key = secure.folder.path().join("p1-blue.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).expect("a mode");
    secure.server.kill().await;
    says(&proxy, &format!("run `chmod 600 {}`", key.display())).await;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    says(&proxy, "cannot connect").await;
}
