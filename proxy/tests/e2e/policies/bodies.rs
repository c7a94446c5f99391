//! Bodies under policies.

use serde_json::{Value, json};

use super::{Fleet, at, get, send};
use crate::support::{Upstream, curl, documents};

/// A policy with a body mode, attached at both stages that have bodies.
fn with_body(fleet: &Fleet, name: &str, mode: &str, config: Value) -> Value {
    let mut policy = fleet.policy(name, config);
    policy["body"] = json!(mode);
    policy
}

const BOTH: [&str; 2] = ["PRE_UPSTREAM", "POST_RESPONSE"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_as_a_whole_is_seen_and_replaced() {
    let fleet = Fleet::start().await;
    let config = json!({
        "pre_upstream": [{"upper_body": {}}, {"append_body": {"text": "!"}}],
        "post_response": [{"append_body": {"text": "?"}}],
    });
    let mut policy = with_body(&fleet, "p", "BUFFERED", config);
    policy["max_body"] = json!(1000);
    let url = fleet.commit(json!([]), at("p", &BOTH), &[policy]).await;
    let client = reqwest::Client::new();
    let answer = send(client.post(&url).body("abc"), &[]).await;
    assert_eq!(answer.sent("body"), ["ABC!"]);
    assert_eq!(answer.sent("content-length"), ["4"]);
    assert!(answer.text.ends_with('?'));
    let length = answer.text.len().to_string();
    assert_eq!(answer.values("content-length"), [&*length]);
    // In parts, and over HTTP/2.
    let text = curl(&[
        "--header",
        "transfer-encoding: chunked",
        "--data",
        "abc",
        &url,
    ])
    .await;
    assert!(text.contains("body: ABC!\n"), "{text}");
    let text = curl(&["--http2-prior-knowledge", "--data", "xyz", &url]).await;
    assert!(text.contains("body: XYZ!\n"), "{text}");
    // None at all.
    let answer = get(&url, &[]).await;
    assert_eq!(answer.sent("body"), ["!"]);
    // Beyond the bound.
    let answer = send(client.post(&url).body("x".repeat(1001)), &[]).await;
    assert_eq!(answer.status, 413);
    let answer = send(client.post(&url).body("x".repeat(900)), &[]).await;
    assert_eq!((answer.status, &*answer.text), (500, "a policy failed\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_beyond_the_bound_goes_on_where_the_policy_may_fail() {
    let fleet = Fleet::start().await;
    let mut policy = with_body(
        &fleet,
        "p",
        "BUFFERED",
        json!({"post_response": [{"append_body": {"text": "?"}}]}),
    );
    policy["max_body"] = json!(1000);
    policy["fail_open"] = json!(true);
    let url = fleet
        .commit(json!([]), at("p", &["POST_RESPONSE"]), &[policy])
        .await;
    let client = reqwest::Client::new();
    let text = "x".repeat(100_000);
    let answer = send(client.post(&url).body(text.clone()), &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.sent("body"), [&*text]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_passes_through_as_it_comes() {
    let fleet = Fleet::start().await;
    let config = json!({
        "request_body": [{"write": {"text": "<"}}, {"upper": {}}, {"write": {"text": ">"}}],
        "response_body": [{"write": {"text": "["}}, {"pass": {}}, {"write": {"text": "]"}}],
    });
    let policy = with_body(&fleet, "p", "STREAMED", config);
    let url = fleet.commit(json!([]), at("p", &BOTH), &[policy]).await;
    let client = reqwest::Client::new();
    for length in [1, 1000, 1_000_000] {
        let text = "a".repeat(length);
        let answer = send(client.post(&url).body(text.clone()), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.sent("body"), [format!("<{}>", text.to_uppercase())]);
        assert!(answer.text.starts_with("[POST") && answer.text.ends_with(']'));
    }
    let text = curl(&["--http2-prior-knowledge", "--data", "xyz", &url]).await;
    assert!(text.contains("body: <XYZ>\n"), "{text}");
    let text = curl(&["--head", &url]).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_fails_midway_cuts_the_body_and_nobody_takes_it_for_whole() {
    let fleet = Fleet::start().await;
    let measuring = Upstream::measuring().await;
    let mut all = vec![documents::cluster("measuring", measuring.address)];
    for (name, config) in [
        ("request", json!({"request_body": "trap_halfway"})),
        ("response", json!({"response_body": "trap_halfway"})),
        ("never", json!({"request_body": "never_read"})),
        ("loop", json!({"response_body": "infinite_loop"})),
    ] {
        let policy = json!({
            "kind": "Policy", "name": name, "component": fleet.hostile, "config": config,
        });
        let mut route = documents::forward(name, &format!("/{name}"), "measuring");
        route["policies"] = at(name, &BOTH);
        all.extend([policy, route]);
    }
    let url = fleet.commit(json!([]), json!([]), &all).await;
    let client = reqwest::Client::new();
    let post = |name: &str| {
        client
            .post(format!("{url}/{name}"))
            .body("x".repeat(100_000))
    };
    // The upstream's answer may come before the request is cut; it never is that of a whole one.
    let answer = send(post("request"), &[]).await;
    assert_eq!((answer.status, &*answer.text), (500, "a policy failed\n"));
    for name in ["response", "loop"] {
        let answer = post(name).send().await.expect("a head");
        assert!(answer.text().await.is_err(), "{name}");
    }
    let answer = send(post("never"), &[]).await;
    assert_eq!((answer.status, &*answer.text), (200, "0"));
}
