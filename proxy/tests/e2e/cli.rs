//! The command line as its users meet it: against a real server and a real fleet.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Proxy, Server, Upstream, eventually, fleetway, fleetway_with_editor};

/// A command that is done: what it printed.
#[track_caller]
fn done((code, stdout, stderr): (i32, String, String)) -> String {
    assert_eq!(code, 0, "{stdout}{stderr}");
    stdout
}

/// A command that fails with `exit`: its error.
#[track_caller]
fn failed(exit: i32, (code, stdout, stderr): (i32, String, String)) -> String {
    assert_eq!(code, exit, "{stdout}{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    stderr
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A file in the folder.
fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let file = folder.path().join(name);
    fs::write(&file, text).expect("a file");
    path(&file).to_owned()
}

/// The quickstart's files, on free ports and with these upstreams.
fn quickstart(first: &Upstream, second: &Upstream) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let original = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/quickstart");
    for entry in fs::read_dir(original).expect("the quickstart") {
        let entry = entry.expect("a file");
        let text = fs::read_to_string(entry.path())
            .expect("a text")
            .replace("127.0.0.1:8081", "127.0.0.1:0")
            .replace("127.0.0.1:8082", "127.0.0.1:0")
            .replace("127.0.0.1:9081", &first.address.to_string())
            .replace("127.0.0.1:9082", &second.address.to_string());
        file(&folder, path(Path::new(&entry.file_name())), &text);
    }
    folder
}

/// Two proxies, one of each fleet, that are connected.
async fn proxies(server: &Server) -> (Proxy, Proxy) {
    let proxies = tokio::join!(
        Proxy::of(server, "p1", "blue"),
        Proxy::of(server, "p2", "green")
    );
    eventually("both are connected", async || {
        let nodes = done(fleetway(server.rest, &["get", "nodes", "-o", "json"]).await);
        let nodes: Value = serde_json::from_str(&nodes).expect("JSON");
        (nodes["items"].as_array()?.len() == 2).then_some(())
    })
    .await;
    proxies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_set_up_from_files_and_taken_down_again() {
    let server = Server::start().await;
    let run = async |args: &[&str]| fleetway(server.rest, args).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        done(run(&["version"]).await),
        format!(
            "client: {version}\nserver: {version} (http://{})\n",
            server.rest
        )
    );
    assert_eq!(
        done(run(&["status"]).await),
        "no nodes; the newest revision is 0\n"
    );

    let (blue, green) = proxies(&server).await;
    let upstreams = (Upstream::named("v1").await, Upstream::named("v2").await);
    let files = quickstart(&upstreams.0, &upstreams.1);
    let folder = path(files.path());
    let tried = done(run(&["apply", "-f", folder, "--dry-run", "--wait"]).await);
    says(
        &tried,
        &["dry run: nothing was stored; this would be revision 1 (10 created)"],
    );
    says(
        &done(run(&["status"]).await),
        &["the newest revision is 0\n"],
    );
    let made = done(run(&["apply", "-f", folder, "--wait", "-m", "The quickstart"]).await);
    says(
        &made,
        &[
            "created  clusters/users-v1\n",
            "revision 1 (10 created)\nrevision 1 is live on 2 of 2 connected nodes\n",
        ],
    );
    for (proxy, listener) in [(&blue, "web-blue"), (&green, "web-green")] {
        let url = format!("http://{}/users", proxy.listener(listener).await);
        let request = reqwest::Client::new().get(url).header("x-version", "v2");
        let text = request.send().await.expect("an answer").text().await;
        assert_eq!(text.expect("a text"), "v2");
    }
    let again = done(run(&["apply", "-f", folder, "--wait"]).await);
    says(
        &again,
        &["nothing to change at revision 1 (10 unchanged)\n"],
    );

    let backup = done(run(&["get", "all", "-o", "yaml", "--plain"]).await);
    let backup = file(&files, "backup", &backup);
    let edits = done(run(&["get", "all", "-o", "yaml"]).await);
    let edits = file(&files, "edits", &edits);

    let gone = done(run(&["delete", "-f", folder, "--wait"]).await);
    says(
        &gone,
        &["revision 2 (10 deleted)\nrevision 2 is live on 2 of 2"],
    );
    says(
        &done(run(&["status"]).await),
        &["2 nodes: 2 live; the newest revision is 2\n"],
    );

    // What was there is put back, whatever became of it.
    done(run(&["validate", "-f", &backup]).await);
    let restored = done(run(&["apply", "-f", &backup, "--wait"]).await);
    says(
        &restored,
        &["revision 3 (10 created)\nrevision 3 is live on 2 of 2"],
    );
    says(
        &failed(3, run(&["apply", "-f", &edits]).await),
        &["routes/users: is at version 3 by now"],
    );
    says(
        &done(run(&["apply", "-f", &edits, "--overwrite"]).await),
        &["nothing to change at revision 3 (10 unchanged)"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_made_on_what_was_read_or_refused_with_the_reason() {
    let server = Server::start().await;
    let run = async |args: &[&str]| fleetway(server.rest, args).await;
    let _proxies = proxies(&server).await;
    let upstream = Upstream::named("v1").await;
    let files = quickstart(&upstream, &upstream);
    done(run(&["apply", "-f", path(files.path()), "--wait"]).await);

    // Two people take the same route; the second to write it is told.
    let route = done(run(&["get", "route", "users", "-o", "yaml"]).await);
    let mine = file(&files, "mine", &route.replace("weight: 9", "weight: 5"));
    let theirs = file(&files, "theirs", &route.replace("weight: 9", "weight: 8"));
    let changed = done(run(&["apply", "-f", &mine, "--wait"]).await);
    says(
        &changed,
        &[
            "changed  routes/users\n",
            "-    weight: 9\n",
            "+    weight: 5\n",
            "revision 2 (1 changed)\nrevision 2 is live on 2 of 2",
        ],
    );
    let stale = failed(3, run(&["apply", "-f", &theirs]).await);
    says(&stale, &["routes/users", "Nothing was changed"]);

    let referred = failed(3, run(&["delete", "cluster", "users-v1"]).await);
    says(
        &referred,
        &[
            "clusters/users-v1: ",
            "routes/default, routes/profile, routes/users",
        ],
    );
    for missing in [
        &["get", "route", "nobody"][..],
        &["get", "node", "nobody"],
        &["delete", "route", "nobody"],
        &["edit", "route", "nobody"],
        &["show", "99"],
    ] {
        failed(4, run(missing).await);
    }
    let invalid = file(&files, "invalid", "{kind: Route, name: users, forward: {}}");
    says(
        &failed(2, run(&["apply", "-f", &invalid]).await),
        &["routes/users: forward"],
    );

    let edit = ["edit", "route", "users", "--wait", "-m", "Seven"];
    let sed = "sed -i 's/weight: 5/weight: 7/'";
    let edited = done(fleetway_with_editor(server.rest, sed, &edit).await);
    says(&edited, &["changed  routes/users\n", "+    weight: 7\n"]);
    says(&edited, &["revision 3 is live on 2 of 2"]);
    let left = done(fleetway_with_editor(server.rest, "true", &edit).await);
    assert_eq!(left, "routes/users is left as it is\n");

    let table = done(run(&["get", "routes"]).await);
    says(&table, &["routes/users ", "users-v1:7,users-v2:1"]);
    let log = done(run(&["revisions", "-n", "2"]).await);
    let lines: Vec<Vec<&str>> = log
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        (lines[1][0], &lines[1][2..]),
        ("3", &["ann", "1", "Seven"][..])
    );
    assert_eq!(lines[2][0], "2", "{log}");
    let shown = done(run(&["show", "3"]).await);
    says(
        &shown,
        &[
            "revision 3\nauthor:  ann\n",
            "message: Seven\n",
            "    -    weight: 5\n    +    weight: 7\n",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_serve_a_change_is_named_with_the_reason() {
    let server = Server::start().await;
    let run = async |args: &[&str]| fleetway(server.rest, args).await;
    let (_blue, green) = proxies(&server).await;
    let files = tempfile::tempdir().expect("a folder");
    let good = file(&files, "good", "{kind: Cluster, name: a}");
    done(run(&["apply", "-f", &good, "--wait"]).await);

    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let busy = json!({
        "kind": "Listener", "name": "busy", "fleets": ["blue"], "address": address, "http": {},
    });
    let busy = file(&files, "busy.json", &busy.to_string());
    // Longer than a test may take: the wait is over when the refusal is there.
    let refused = failed(6, run(&["apply", "-f", &busy, "--wait=5m"]).await);
    says(
        &refused,
        &[
            "revision 2 is stored, but was refused: it is live on 1 of 2 connected nodes\n",
            "\n  p1 (blue, REJECTED, serves 1): refused revision 2: listeners/busy: address: ",
            &address,
        ],
    );
    assert!(!refused.contains("p2"), "{refused}");
    let half = done(run(&["apply", "-f", &busy, "--wait=5m", "--wait-nodes", "50%"]).await);
    says(&half, &["revision 2 is live on 1 of 2 connected nodes\n"]);
    let status = done(run(&["status"]).await);
    says(
        &status,
        &[
            "REJECTED  1     1    revision 2: listeners/busy: address: ",
            "2 nodes: 1 live, 1 rejected; the newest revision is 2\n",
        ],
    );

    let healed = done(run(&["delete", "listener", "busy", "--wait"]).await);
    says(&healed, &["revision 3 is live on 2 of 2 connected nodes\n"]);
    let status = done(run(&["status"]).await);
    says(&status, &["2 nodes: 2 live; the newest revision is 3\n"]);
    assert!(!status.contains("REJECTED"), "{status}");

    // A proxy that does not answer is waited for, but not for ever.
    green.signal("STOP");
    let new = file(&files, "new", "{kind: Cluster, name: b}");
    let late = failed(6, run(&["apply", "-f", &new, "--wait=1s"]).await);
    says(
        &late,
        &[
            "revision 4 is stored, but after 1s it is live on ",
            "\n  p2 (green, PENDING, serves 3): has not ",
        ],
    );
    green.signal("CONT");
    let on_time = done(run(&["apply", "-f", &new, "--wait"]).await);
    says(
        &on_time,
        &["revision 4 is live on 2 of 2 connected nodes\n"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_no_connected_proxy_is_of_is_pointed_out_after_the_wait() {
    let server = Server::start().await;
    let _proxy = Proxy::of(&server, "p1", "blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let apply = async |name: &str, fleets: &str, flags: &[&str]| {
        let file = folder.path().join("route.yaml");
        let text = format!(
            "{{kind: Route, name: {name}, fleets: {fleets}, match: {{path: {{exact: /{name}}}}}, respond: {{status: 204}}}}"
        );
        std::fs::write(&file, text).expect("a file");
        let file = file.to_str().expect("a plain path");
        fleetway(server.rest, &[&["apply", "-f", file], flags].concat()).await
    };
    eventually("the proxy is connected", async || {
        let (_, out, _) = fleetway(server.rest, &["get", "nodes"]).await;
        out.contains("p1").then_some(())
    })
    .await;
    let (code, out, err) = apply("good", "[blue]", &["--wait"]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, out, err) = apply("tf", "[blue, bleu]", &["--wait"]).await;
    assert_eq!(
        (code, err.as_str()),
        (0, "note: no connected node is of fleet bleu (routes/tf)\n"),
        "{out}"
    );
    let (_, _, err) = apply("tf", "[bleu]", &["--wait", "--dry-run"]).await;
    assert_eq!(err, "");
}
