//! Secrets from the file to the handshake, over TLS all the way, and nowhere in sight.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Authority, Nginx, Proxy, Server, Surroundings, documents, eventually, fleetway,
    fleetway_with_editor, run_shell, write_private,
};

/// Pieces of the private number in a key; what is around it is public.
fn pieces(key: &str) -> [String; 2] {
    let lines: Vec<&str> = key.lines().collect();
    [lines[1][48..64].to_owned(), lines[2][..16].to_owned()]
}

#[track_caller]
fn shows_no_key(key: &str, text: &str) {
    for piece in pieces(key) {
        assert!(!text.contains(&piece), "{text}");
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    write_private(&path, text);
    path.to_str().expect("a plain path").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_pushes_edits_and_renews_a_secret_and_shows_no_key() {
    let server = Server::start().await;
    let folder = TempDir::new().expect("a folder");
    let ca = Authority::new("Test CA");
    let (first, second) = (
        ca.issue(&["a.example.com"]),
        ca.issue_with(&["b.example.com"], |params| {
            params.not_after = rcgen::date_time_ymd(2999, 1, 1);
        }),
    );
    let file =
        |name: &str, secret: &serde_json::Value| write(folder.path(), name, &secret.to_string());
    let (one, two) = (
        file("one.json", &first.secret("web")),
        file("two.json", &second.secret("web")),
    );
    let run = async |args: &[&str]| {
        let (code, out, err) = fleetway(server.rest, args).await;
        for issued in [&first, &second] {
            shows_no_key(&issued.key, &out);
            shows_no_key(&issued.key, &err);
        }
        (code, out + &err)
    };
    let (code, out) = run(&["apply", "-f", &one]).await;
    assert_eq!(
        (code, out.lines().next()),
        (0, Some("created  secrets/web"))
    );
    let (_, out) = run(&["apply", "-f", &one]).await;
    assert!(out.starts_with("unchanged  secrets/web"), "{out}");
    let (_, out) = run(&["apply", "--dry-run", "-f", &two]).await;
    assert!(
        out.starts_with("changed  secrets/web") && out.contains("[redacted sha256:"),
        "{out}"
    );
    let (_, out) = run(&["apply", "-f", &two]).await;
    assert!(out.starts_with("changed  secrets/web"), "{out}");
    let signs = out
        .lines()
        .filter(|line| line.contains("private_key: ") && line.contains("sha256:"));
    assert_eq!(signs.count(), 2, "the old one and the new one: {out}");

    let (_, printed) = run(&["get", "secret", "web", "-o", "yaml"]).await;
    let again = write(folder.path(), "again.yaml", &printed);
    let (_, out) = run(&["apply", "-f", &again]).await;
    assert!(out.starts_with("unchanged  secrets/web"), "{out}");
    let (_, out) = run(&["get", "secrets"]).await;
    assert!(
        out.contains("certificate b.example.com") && out.contains("2999-01-01"),
        "{out}"
    );
    let editor = "sed -i 's/^name: web/&\\nlabels: {team: a}/'";
    let (code, out, err) =
        fleetway_with_editor(server.rest, editor, &["edit", "secret", "web"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("+  team: a"), "{out}");
    shows_no_key(&second.key, &out);
    for revision in ["1", "2", "3"] {
        let (code, out) = run(&["show", revision]).await;
        assert_eq!(code, 0, "{out}");
    }
    let (code, out) = run(&["validate", "-f", &again]).await;
    assert!(
        code == 2 && out.contains("is only the sign that a key was left out"),
        "{out}"
    );
    let (code, _) = run(&["delete", "-f", &again, "--message", "gone"]).await;
    assert_eq!(code, 3, "it was edited since: its version is a condition");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_proxy_that_shows_its_certificate_gets_secrets_and_another_nothing() {
    let folder = TempDir::new().expect("a folder");
    let ca = Authority::new("Test CA");
    let (cert, key) = (
        folder.path().join("server.pem"),
        folder.path().join("server.key"),
    );
    let renew = |name: &str| {
        let issued = ca.issue(&[name, "127.0.0.1"]);
        fs::write(&cert, issued.chain).expect("written");
        write_private(&key, &issued.key);
    };
    renew("old.example.com");
    let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let (authorities, cert_file, key_file) = (text(&ca.file()), text(&cert), text(&key));
    let server = Server::secure(&[
        "--tls-cert",
        &cert_file,
        "--tls-key",
        &key_file,
        "--tls-client-ca",
        &authorities,
    ])
    .await;
    let client = ca.issue_identity("fleet/blue/node/p1");
    let client_chain = write(folder.path(), "proxy.pem", &client.chain);
    let client_key = write(folder.path(), "proxy.key", &client.key);
    let xds = format!("https://{}", server.xds);
    let common = [
        "--xds",
        &xds,
        "--xds-ca",
        &authorities,
        "--fleet",
        "blue",
        "--node-id",
    ];
    let stranger = Proxy::start(&[&common[..], &["stranger"]].concat()).await;
    let identity = ["--xds-cert", &client_chain, "--xds-key", &client_key];
    let proxy = Proxy::start(&[&common[..], &["p1"], &identity].concat()).await;

    let mut listener = documents::listener("web");
    listener["tls"] = json!({"certificates": ["web"]});
    let web = ca.issue(&["api.example.com"]);
    let all = json!([
        web.secret("web"),
        listener,
        documents::respond("hello", "/", "hello")
    ]);
    write(folder.path(), "all.json", &all.to_string());
    let shell = async |command: &str| {
        let fleetway = format!(
            "fleetway --server https://{} --ca {authorities}",
            server.rest
        );
        run_shell(
            server.rest,
            folder.path(),
            &command.replace("fleetway", &fleetway),
        )
        .await
    };
    eventually("the proxy is connected", async || {
        let (_, out) = shell("fleetway get nodes").await;
        out.contains("p1").then_some(())
    })
    .await;
    let (code, out) = shell("fleetway apply -f all.json --wait").await;
    assert!(
        code == 0 && out.contains("is live on 1 of 1 connected nodes"),
        "{out}"
    );
    let at = proxy.listener("web").await;
    let curl = format!(
        "curl -s --cacert {authorities} --connect-to ::{}:{} https://api.example.com/",
        at.ip(),
        at.port()
    );
    let (_, out) = run_shell(server.rest, folder.path(), &curl).await;
    assert_eq!(out, "hello");

    // Who shows no certificate is told so, and is no node.
    eventually("the stranger is refused", async || {
        let (_, page) = stranger.page("/config_dump").await;
        page.contains("ertificate").then_some(())
    })
    .await;
    let (_, out) = shell("fleetway get nodes").await;
    assert!(!out.contains("stranger"), "{out}");
    let (code, out) = run_shell(
        server.rest,
        folder.path(),
        &format!("curl -s http://{}/healthz", server.rest),
    )
    .await;
    assert_ne!(code, 0, "cleartext is not answered: {out}");
    let plain = Server::start().await;
    for (server, remedy) in [
        (format!("http://{}", server.rest), "write https://HOST:PORT"),
        (
            format!("https://{}", server.rest),
            "give the one that did with --ca FILE",
        ),
        (format!("https://{}", plain.rest), "write http://HOST:PORT"),
        (
            format!(
                "https://localhost:{} --ca {authorities}",
                server.rest.port()
            ),
            "a name that the server's certificate is for",
        ),
    ] {
        for command in ["status", "delete route none"] {
            let command = format!("FLEETWAY_CA= fleetway {command} --server {server}");
            let (code, out) = run_shell(plain.rest, folder.path(), &command).await;
            assert!(
                code == 5 && out.contains(remedy) && !out.contains("Is it running?"),
                "{command}: {out}"
            );
        }
    }

    renew("new.example.com");
    server.signal("HUP");
    eventually("the new certificate is shown", async || {
        let shown = format!(
            "openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509 -noout -subject",
            server.xds
        );
        let (_, out) = run_shell(server.rest, folder.path(), &shown).await;
        out.contains("new.example.com").then_some(())
    })
    .await;
    let (_, out) = shell("fleetway status").await;
    assert!(out.contains("1 live"), "open streams stay: {out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_at_its_most_talkative_and_no_page_shows_a_key() {
    let folder = TempDir::new().expect("a folder");
    let logging = |name: &str| Surroundings {
        log: Some(folder.path().join(name)),
        ..Surroundings::default()
    };
    let trace = ["--log", "trace"];
    let server = Server::start_in(&logging("server.log"), &trace).await;
    let xds = format!("http://{}", server.xds);
    let flags = [
        "--xds",
        &xds,
        "--node-id",
        "p1",
        "--fleet",
        "blue",
        "--log",
        "trace",
    ];
    let mut proxy = Proxy::start_in(logging("proxy.log"), &flags).await;

    let ca = Authority::new("Test CA");
    let (first, second) = (
        ca.issue(&["api.example.com"]),
        ca.issue(&["api.example.com"]),
    );
    let client = ca.issue(&["proxy.example.com"]);
    let broken = ca.issue(&["broken.example.com"]);
    let nginx = Nginx::asking(&ca.issue(&["users.internal"]), &ca).await;
    let mut listener = documents::listener("web");
    listener["tls"] = json!({"certificates": ["api"], "client_certificates": {"ca": "authority"}});
    let mut cluster = documents::cluster("users", nginx.address);
    cluster["tls"] =
        json!({"ca": "authority", "server_name": "users.internal", "certificate": "client"});
    let all = [
        first.secret("api"),
        client.secret("client"),
        ca.secret("authority"),
        listener,
        cluster,
        documents::forward("users", "/", "users"),
    ];
    let rest = server.client();
    rest.commit_live(&all, 1).await;
    let web = proxy.listener("web").await;
    let ask = async || {
        let config = ca.client_config_with(&client);
        let asking = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .resolve("api.example.com", web)
            .build()
            .expect("a client");
        let url = format!("https://api.example.com:{}/", web.port());
        let answer = asking.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    };
    ask().await;
    rest.commit_live(&[second.secret("api")], 1).await;
    ask().await;
    // What is refused, by each of the parts that could quote it.
    let mut faulty = broken.secret("api");
    faulty["certificate"]["chain"] = json!(first.chain);
    let mut shapeless = broken.secret("api");
    shapeless["certificate"] = json!(broken.key);
    let mut unknown = broken.secret("api");
    unknown["certificate"]["key"] = json!(broken.key);
    let mut shown = String::new();
    for wrong in [faulty, shapeless, unknown] {
        let (status, answer) = rest
            .try_transaction(&[wrong], &[])
            .await
            .expect("an answer");
        assert!(status == 422 || status == 400, "{answer}");
        shown += &answer.to_string();
    }
    for path in [
        "/v1/secrets",
        "/v1/secrets/api",
        "/v1/revisions",
        "/v1/revisions/1",
        "/v1/revisions/2",
        "/v1/nodes",
    ] {
        shown += &rest.get(path).await.to_string();
    }
    for path in ["/config_dump", "/metrics", "/listeners", "/"] {
        shown += &proxy.page(path).await.1;
    }
    let before = proxy.pid();
    proxy.signal("USR2");
    proxy.succeeded(before).await;
    eventually("the new process serves", async || {
        (proxy.revision().await == 2).then_some(())
    })
    .await;
    ask().await;
    proxy.terminate();
    assert!(proxy.gone(std::time::Duration::from_secs(30)).await);
    server.signal("TERM");
    let told = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a log");
    eventually("the server has stopped", async || {
        told("server.log").contains("stopped").then_some(())
    })
    .await;
    for (log, marks) in [
        ("server.log", ["TRACE", "serving"]),
        ("proxy.log", ["TRACE", "rustls"]),
    ] {
        let log = told(log);
        assert!(
            marks.iter().all(|mark| log.contains(mark)),
            "it is the whole log"
        );
        shown += &log;
    }
    assert!(shown.contains("[redacted sha256:") && shown.contains("BEGIN CERTIFICATE"));
    for issued in [&first, &second, &client, &broken] {
        for piece in pieces(&issued.key) {
            let at = shown.find(&piece);
            let around = at.map(|at| &shown[at.saturating_sub(200)..at]);
            assert_eq!(around, None);
        }
    }
}
