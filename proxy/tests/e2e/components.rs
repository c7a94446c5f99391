//! A component as large as an interpreter makes it, from its upload to a proxy's disk and back.

use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Proxy, Server, documents, eventually};

/// A component of about `megabytes` MB that changes nothing: a sample, and a custom section of random
/// bytes.
fn component(megabytes: usize) -> Vec<u8> {
    let content = megabytes * 1_000_000;
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/policies/header-rules.wasm"
    );
    let mut wasm = std::fs::read(sample).expect("a sample");
    wasm.push(0);
    let mut left = content + 1;
    while left >= 128 {
        wasm.push(u8::try_from(left & 127).expect("seven bits") | 128);
        left >>= 7;
    }
    wasm.push(u8::try_from(left).expect("seven bits"));
    wasm.push(0);
    let at = wasm.len();
    wasm.resize(at + content, 0);
    rand::fill(&mut wasm[at..]);
    wasm
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_forty_megabytes_comes_to_a_proxy_once_and_is_served_from_its_disk() {
    let mut server = Server::start().await;
    let mut proxy = Proxy::of(&server, "p1", "blue").await;
    let wasm = component(40);
    let upload = reqwest::Client::new()
        .put(format!("http://{}/v1/components", server.rest))
        .header("content-type", "application/wasm")
        .body(wasm.clone())
        .send()
        .await
        .expect("an answer");
    assert_eq!(upload.status(), StatusCode::CREATED);
    let document: Value = upload.json().await.expect("JSON");
    let digest = document["name"].as_str().expect("a name").to_owned();
    assert_eq!(document["facts"]["size"], wasm.len());

    let mut route = documents::respond("r", "/", "kept");
    route["policies"] = json!([{"policy": "p", "stage": "POST_RESPONSE"}]);
    let policy = json!({"kind": "Policy", "name": "p", "component": digest, "fail_open": true});
    let rest = server.client();
    let web = documents::listener("web");
    rest.commit_live(&[web, policy, route.clone()], 1).await;
    let dumped = async |proxy: &Proxy| -> Value {
        let (_, dump) = proxy.page("/config_dump").await;
        serde_json::from_str(&dump).expect("JSON")
    };
    let dump = dumped(&proxy).await.to_string();
    assert!(
        dump.contains(&digest) && dump.len() < 100_000,
        "{}",
        dump.len()
    );
    eventually("the configuration is on disk", async || {
        proxy.has_on_disk("kept").then_some(())
    })
    .await;

    server.kill().await;
    proxy.restart().await;
    // Reading it takes a moment.
    proxy.listener("web").await;
    let dump = dumped(&proxy).await;
    assert_eq!(dump["source"]["origin"], "disk");
    assert!(dump.to_string().contains(&digest));

    // It comes back, and what needs the component goes on without it being sent again.
    server.restart().await;
    route["respond"]["body"] = "new".into();
    let revision = server.client().commit(&[route], &[]).await;
    server.client().live(revision, 1).await;
    // Where nothing needs it any more, it leaves the proxy and its disk.
    let plain = documents::respond("r", "/", "plain");
    let revision = server.client().commit(&[plain], &[]).await;
    server.client().live(revision, 1).await;
    assert!(!dumped(&proxy).await.to_string().contains(&digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_compiled_is_kept_over_a_restart_and_leaves_the_disk_with_its_component() {
    let server = Server::start().await;
    let mut proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/policies/header-rules.wasm"
    );
    let (status, document) = rest
        .put_component(fs::read(rules).expect("a component"))
        .await;
    assert_eq!(status, 201);
    let digest = document["name"].as_str().expect("a name");
    let mut route = documents::respond("r", "/", "served");
    route["policies"] = json!([{"policy": "p", "stage": "POST_RESPONSE"}]);
    let config = json!({"response": [{"set": {"name": "x-a", "value": "1"}}]});
    let policy = json!({"kind": "Policy", "name": "p", "component": digest, "config": config});
    rest.commit_live(&[documents::listener("web"), policy, route], 1)
        .await;
    let has_run = async |proxy: &Proxy| {
        let url = format!("http://{}/", proxy.listener("web").await);
        let answer = reqwest::get(&url).await.expect("an answer");
        assert_eq!(answer.headers()["x-a"], "1");
    };
    has_run(&proxy).await;
    let kept = proxy.compiled();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].0.starts_with(digest), "{kept:?}");

    // Compiled again it would be another file.
    eventually("the configuration is on disk", async || {
        proxy.has_on_disk("served").then_some(())
    })
    .await;
    proxy.restart().await;
    has_run(&proxy).await;
    assert_eq!(proxy.compiled(), kept);

    let plain = documents::respond("r", "/", "plain");
    rest.commit_live(&[plain], 1).await;
    eventually("it is removed", async || {
        proxy.compiled().is_empty().then_some(())
    })
    .await;
}
