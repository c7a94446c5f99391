//! Requests that a policy has sent again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use super::{Fleet, at};
use crate::support::{Upstream, documents, eventually};

/// Nothing listens here.
const NOWHERE: &str = "127.0.0.1:1";

/// An upstream that answers the first so many requests with a status, and the rest with what it was
/// sent.
async fn failing(times: u32, status: u16) -> (Upstream, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let by = asked.clone();
    let upstream = Upstream::answering(move |_, body| {
        let ok = by.fetch_add(1, Ordering::Relaxed) >= times;
        http::Response::builder()
            .status(if ok { 200 } else { status })
            .body(String::from_utf8_lossy(&body).into_owned())
            .expect("a response")
    })
    .await;
    (upstream, asked)
}

/// A policy that has requests sent again so often for these reasons, and a way to it.
async fn commit(fleet: &Fleet, body: &str, endpoints: &[SocketAddr], set: Value) -> String {
    let mut policy = fleet.policy("p", json!({"pre_upstream": [{"set_retries": set}]}));
    policy["body"] = json!(body);
    let endpoints = endpoints.iter();
    let endpoints: Value = endpoints
        .map(|endpoint| json!({"address": endpoint.to_string()}))
        .collect();
    let cluster = json!({"kind": "Cluster", "name": "c", "endpoints": endpoints});
    let mut route = documents::forward("r", "/r", "c");
    route["policies"] = at("p", &["PRE_UPSTREAM"]);
    let url = fleet
        .commit(json!([]), json!([]), &[policy, cluster, route])
        .await;
    format!("{url}/r")
}

async fn post(url: &str, body: &'static str) -> (u16, String) {
    let answer = reqwest::Client::new().post(url).body(body).send().await;
    let answer = answer.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_error_is_asked_about_again_so_often_and_no_more() {
    let fleet = Fleet::start().await;
    let (upstream, asked) = failing(2, 503).await;
    let all = ["connect-failure", "reset", "gateway-error"];
    let to = [upstream.address];
    let url = commit(&fleet, "BUFFERED", &to, json!({"count": 2, "on": all})).await;
    assert_eq!(post(&url, "body").await, (200, "body".to_owned()));
    assert_eq!(asked.swap(0, Ordering::Relaxed), 3);
    let url = commit(&fleet, "BUFFERED", &to, json!({"count": 1, "on": all})).await;
    assert_eq!(post(&url, "body").await.0, 503);
    assert_eq!(asked.swap(0, Ordering::Relaxed), 2);
    // Another reason is none; a body that passed by cannot pass again; one there is not can.
    let url = commit(
        &fleet,
        "BUFFERED",
        &to,
        json!({"count": 9, "on": ["reset"]}),
    )
    .await;
    assert_eq!(post(&url, "body").await.0, 503);
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
    let url = commit(&fleet, "NONE", &to, json!({"count": 9, "on": all})).await;
    assert_eq!(post(&url, "body").await.0, 503);
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
    assert_eq!(post(&url, "").await.0, 200);
    assert_eq!(asked.swap(0, Ordering::Relaxed), 3);
    let (_, page) = fleet.proxy.page("/metrics").await;
    let line = "fleetway_cluster_retries_total{cluster=\"c\"} 5\n";
    assert!(page.contains(line), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_left_for_the_next_endpoint() {
    let fleet = Fleet::start().await;
    let (upstream, asked) = failing(0, 200).await;
    let nowhere: SocketAddr = NOWHERE.parse().expect("an address");
    let on = json!({"count": 1, "on": ["connect-failure"]});
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let listener = json!({
        "kind": "Listener", "name": "logged", "address": "127.0.0.1:0", "http": {},
        "access_log": {"path": path.display().to_string()},
    });
    fleet.server.client().commit_live(&[listener], 1).await;
    commit(&fleet, "BUFFERED", &[nowhere, upstream.address], on).await;
    let url = format!("http://{}/r", fleet.proxy.listener("logged").await);
    for _ in 0..4 {
        assert_eq!(post(&url, "body").await, (200, "body".to_owned()));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    let lines = eventually("four lines", async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<Value> = text.lines().flat_map(serde_json::from_str).collect();
        (lines.len() == 4).then_some(lines)
    })
    .await;
    // By turns, some went to nowhere first.
    for line in &lines {
        assert_eq!(line["upstream_address"], upstream.address.to_string());
        assert_eq!(line["bytes_received"], 4, "{line}");
    }
    let twice = lines.iter().filter(|line| line["upstream_attempts"] == 2);
    assert!(twice.count() >= 1, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_is_a_reason_and_time_runs_on() {
    let fleet = Fleet::start().await;
    let broken = Upstream::raw(b"").await;
    let (upstream, asked) = failing(0, 200).await;
    let on = json!({"count": 1, "on": ["reset"]});
    let url = commit(&fleet, "BUFFERED", &[broken.address, upstream.address], on).await;
    for _ in 0..4 {
        assert_eq!(post(&url, "body").await, (200, "body".to_owned()));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    // The time of the exchange is for all of them.
    let mut policy = fleet.policy(
        "p",
        json!({"pre_upstream": [
            {"set_retries": {"count": 10, "on": ["gateway-error"]}},
            {"set_timeout": {"milliseconds": 300}},
        ]}),
    );
    policy["body"] = json!("BUFFERED");
    let (never, asked) = failing(u32::MAX, 502).await;
    let documents = [policy, documents::cluster("c", never.address)];
    fleet.server.client().commit_live(&documents, 1).await;
    assert_eq!(post(&url, "body").await.0, 504);
    assert!((2..=10).contains(&asked.load(Ordering::Relaxed)));
}
