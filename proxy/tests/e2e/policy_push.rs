//! `fleetway policy push` against a real server and a real proxy.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Proxy, Server, documents, fleetway};

/// A command that is done: what it printed.
#[track_caller]
fn done((code, stdout, stderr): (i32, String, String)) -> String {
    assert_eq!(code, 0, "{stdout}{stderr}");
    stdout
}

fn component(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/policies");
    format!("{folder}/{name}.wasm")
}

fn digest(name: &str) -> String {
    let digests = fs::read_to_string(component("x").replace("x.wasm", "DIGESTS"));
    let digests = digests.expect("the digests");
    let line = digests
        .lines()
        .find(|line| line.ends_with(&format!(" {name}.wasm")));
    line.expect("a digest")[..64].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_pushed_and_changed_and_keeps_what_is_not_given() {
    let server = Server::start().await;
    let run = async |args: &[&str]| fleetway(server.rest, args).await;
    let get = async || -> Value {
        let text = done(run(&["get", "policy", "rules", "-o", "json"]).await);
        serde_json::from_str(&text).expect("JSON")
    };
    let file = component("header-rules");
    let alone = done(run(&["policy", "push", &file]).await);
    let made = format!("created  components/{}\n", digest("header-rules"));
    assert!(alone.starts_with(&made), "{alone}");
    let size = fs::metadata(&file).expect("a file").len();
    assert!(
        alone.contains(&format!("    size    {size} bytes\n")),
        "{alone}"
    );

    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("c.yaml");
    fs::write(&config, "response: [{set: {name: x-rules, value: first}}]").expect("a file");
    let config = config.to_str().expect("a path");
    let named = ["policy", "push", &file, "--name", "rules"];
    let args = [&named[..], &["--version", "1.0", "--config", config]].concat();
    let first = done(run(&args).await);
    assert!(first.contains("unchanged  components/"), "{first}");
    assert!(
        first.contains("created  policies/rules\nrevision 2 (1 created)\n"),
        "{first}"
    );
    assert_eq!(get().await["labels"], json!({"version": "1.0"}));

    // Others write what is none of its business.
    let mut policy = get().await;
    policy["fail_open"] = true.into();
    policy["labels"]["team"] = "edge".into();
    server.client().commit(&[policy], &[]).await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let mut route = documents::respond("r", "/", "hello");
    route["policies"] = json!([{"policy": "rules", "stage": "POST_RESPONSE"}]);
    let rest = server.client();
    rest.commit_live(&[documents::listener("web"), route], 1)
        .await;
    let asked = async || {
        let url = format!("http://{}/", proxy.listener("web").await);
        let answer = reqwest::get(url).await.expect("an answer");
        answer.headers().get("x-rules").cloned()
    };
    assert_eq!(asked().await.expect("a field"), "first");

    fs::write(config, "response: [{set: {name: x-rules, value: second}}]").expect("a file");
    let args = [
        &named[..],
        &["--config", config, "--version", "1.1", "--wait"],
    ]
    .concat();
    let second = done(run(&args).await);
    assert!(
        second.contains("is live on 1 of 1 connected nodes"),
        "{second}"
    );
    assert_eq!(asked().await.expect("a field"), "second");
    let policy = get().await;
    assert_eq!(policy["labels"], json!({"version": "1.1", "team": "edge"}));
    assert_eq!(policy["fail_open"], true);

    // Another component: the configuration stays, and is none of what it takes.
    let other = component("redact-json");
    let args = ["policy", "push", &other, "--name", "rules", "-o", "json"];
    let (code, _, stderr) = run(&[&args[..], &["--wait"]].concat()).await;
    assert!([2, 6].contains(&code), "{code}: {stderr}");
    assert_eq!(asked().await.expect("a field"), "second");

    // What there was is pushed again; once more is no change.
    let third = done(run(&[&named[..], &["--config", config, "-o", "json"]].concat()).await);
    let third: Value = serde_json::from_str(&third).expect("JSON");
    assert_eq!(third["component"]["name"], digest("header-rules"));
    assert_eq!(third["transaction"]["results"][0]["name"], "rules");
    let again = done(run(&[&named[..], &["--config", config]].concat()).await);
    assert!(
        again.contains("unchanged  policies/rules\nnothing to change"),
        "{again}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_pushed_changes_nothing() {
    let server = Server::start().await;
    let folder = TempDir::new().expect("a folder");
    let module = folder.path().join("m.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").expect("a file");
    let module = module.to_str().expect("a path");
    let file = component("header-rules");
    for (code, args, said) in [
        (2, &[module][..], "m.wasm: is a core module"),
        (1, &["gone.wasm"], "cannot read gone.wasm"),
        (1, &[&file, "--name", "A"], "--name: \"A\" is not a name"),
        (1, &[&file, "--wait"], "--wait is for --name"),
        (1, &[&file, "--version", "1"], "--name <NAME>"),
    ] {
        let args = [&["policy", "push"], args].concat();
        let (exit, stdout, stderr) = fleetway(server.rest, &args).await;
        assert_eq!(exit, code, "{stdout}{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let status = done(fleetway(server.rest, &["status"]).await);
    assert_eq!(status, "no nodes; the newest revision is 0\n");
}
