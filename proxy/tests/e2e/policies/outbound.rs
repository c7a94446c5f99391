//! Requests of policies' own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{ALL, Fleet, at, get};
use crate::support::{Upstream, curl, documents, eventually};

/// A policy that may send to some clusters, and does what fields of a request say.
fn granted(fleet: &Fleet, clusters: &[&str]) -> Value {
    let mut policy = fleet.told_by_fields("p");
    policy["http"] = json!({"clusters": clusters, "timeout": "300ms"});
    policy
}

/// What the actions of a stage give.
async fn results(url: &str, field: &str, actions: Value) -> Value {
    let mut actions = actions.as_array().expect("a list").clone();
    actions.push(json!({"report": {"to": "answer"}}));
    let answer = get(url, &[(field, json!(actions))]).await;
    let seen: Value = serde_json::from_str(&answer.text).expect("JSON");
    seen["results"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_asks_the_clusters_it_is_granted_at_each_stage() {
    let fleet = Fleet::start().await;
    let auth = Upstream::answering(|head, body| {
        let host = head.headers["host"].to_str().expect("text");
        let id = head.headers["x-request-id"].to_str().expect("text");
        let text = format!(
            "{} {} {host} {id} {} {}",
            head.method,
            head.uri,
            head.headers.get_all("x-a").iter().count(),
            String::from_utf8_lossy(&body)
        );
        let answer = http::Response::builder().status(403).header("x-b", "1");
        answer.body(text).expect("a response")
    })
    .await;
    let clusters = [
        documents::cluster("auth", auth.address),
        documents::cluster("other", auth.address),
        granted(&fleet, &["auth"]),
    ];
    let url = fleet.commit(json!([]), at("p", &ALL), &clusters).await;
    let ask = json!([
        {"http": {"cluster": "auth", "method": "POST", "path": "/check?q=1", "body": "hello",
                  "headers": [["x-a", "1"], ["x-a", "2"]]}},
        {"http": {"cluster": "auth", "path": "/", "authority": "login.example.com:8443"}},
        {"http": {"cluster": "other", "path": "/"}},
        {"http": {"cluster": "auth", "path": "no path"}},
        {"http": {"cluster": "auth", "path": "/", "headers": [["content-length", "9"]]}},
        {"http": {"cluster": "auth", "path": "/", "method": "CONNECT"}},
        {"policy_name": {}},
    ]);
    for field in ["x-p-route", "x-p-upstream", "x-p-response"] {
        let got = results(&url, field, ask.clone()).await;
        assert_eq!(got[0]["status"], 403, "{got}");
        let body = got[0]["body"].as_str().expect("text");
        let words: Vec<&str> = body.split(' ').collect();
        assert_eq!(words[..3], ["POST", "/check?q=1", "auth"]);
        // That of the request it is called for.
        assert_eq!(words[3].len(), 36, "{body}");
        assert_eq!(words[4..], ["2", "hello"]);
        let fields = got[0]["headers"].as_array().expect("a list");
        assert!(fields.contains(&json!(["x-b", "1"])), "{fields:?}");
        assert!(fields.iter().all(|field| field[0] != "connection"));
        let body = got[1]["body"].as_str().expect("text");
        assert!(body.starts_with("GET / login.example.com:8443 "), "{body}");
        assert_eq!(got[2], "forbidden");
        let refused = [
            (3, "path-with-query: has to begin with"),
            (4, "headers: content-length is the proxy's own"),
            (5, "method: "),
        ];
        for (index, why) in refused {
            let text = got[index].as_str().expect("text");
            assert!(text.starts_with(&format!("invalid: {why}")), "{text}");
        }
        assert_eq!(got[6], "p");
    }
    // Beyond the requests of one call it ends.
    let many = vec![json!({"http": {"cluster": "auth", "path": "/"}}); 9];
    let answer = get(&url, &[("x-p-route", json!(many))]).await;
    assert_eq!((answer.status, &*answer.text), (500, "a policy failed\n"));
    // They count as the cluster's.
    let (_, page) = fleet.proxy.page("/metrics").await;
    let line = "fleetway_cluster_responses_total{cluster=\"auth\",class=\"4xx\"}";
    assert!(page.contains(line), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_answered_is_told_and_the_request_goes_on() {
    let fleet = Fleet::start().await;
    let asked = Arc::new(AtomicU32::new(0));
    let large = Upstream::answering(|_, _| http::Response::new("x".repeat((1 << 20) + 1))).await;
    let silent = Upstream::stalling(b"").await;
    let gone = documents::cluster("gone", "127.0.0.1:1".parse().expect("an address"));
    let by = asked.clone();
    let counting = Upstream::answering(move |_, _| {
        by.fetch_add(1, Ordering::Relaxed);
        http::Response::new("counted".to_owned())
    })
    .await;
    let clusters = [
        documents::cluster("large", large.address),
        documents::cluster("silent", silent.address),
        documents::cluster("counting", counting.address),
        gone,
        granted(&fleet, &["large", "silent", "gone", "counting"]),
    ];
    let url = fleet.commit(json!([]), at("p", &ALL), &clusters).await;
    let ask = json!([
        {"http": {"cluster": "large", "path": "/"}},
        {"http": {"cluster": "silent", "path": "/"}},
        {"http": {"cluster": "silent", "path": "/", "timeout": 10}},
        {"http": {"cluster": "gone", "path": "/"}},
        {"http": {"cluster": "counting", "path": "/"}},
    ]);
    let got = results(&url, "x-p-upstream", ask).await;
    assert_eq!(got[0], "too-large");
    assert_eq!((&got[1], &got[2]), (&json!("timeout"), &json!("timeout")));
    let text = got[3].as_str().expect("text");
    assert!(text.starts_with("failed: cannot connect"), "{text}");
    assert_eq!(got[4]["body"], "counted");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // A client that goes away ends it: nothing is left in flight.
    let actions = json!([{"http": {"cluster": "silent", "path": "/"}}]).to_string();
    let request = reqwest::Client::new().get(&url);
    let request = request.timeout(Duration::from_millis(50));
    let given_up = request.header("x-p-route", actions).send().await;
    assert!(given_up.expect_err("no answer").is_timeout());
    eventually("nothing in flight", async || {
        let (_, page) = fleet.proxy.page("/metrics").await;
        let line = "fleetway_cluster_requests_active{cluster=\"silent\"} 0\n";
        page.contains(line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_passes_can_be_asked_about_and_noted() {
    let fleet = Fleet::start().await;
    let words = Upstream::named("words").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let mut policy = fleet.policy(
        "p",
        json!({
            "request_body": [{"metadata_set": {"key": "sent", "value": "yes"}}, {"pass": {}}],
            "response_body": [
                {"write_metadata": {"policy": "p", "key": "sent"}},
                {"write_http": {"cluster": "words", "path": "/"}},
                {"annotate": {"key": "passed", "value": "all"}},
                {"pass": {}},
            ],
        }),
    );
    policy["body"] = json!("STREAMED");
    policy["http"] = json!({"clusters": ["words"]});
    let listener = json!({
        "kind": "Listener", "name": "logged", "address": "127.0.0.1:0", "http": {},
        "access_log": {"path": path.display().to_string()},
    });
    let others = [policy, listener, documents::cluster("words", words.address)];
    let both = at("p", &["PRE_UPSTREAM", "POST_RESPONSE"]);
    fleet.commit(json!([]), both, &others).await;
    let url = format!("http://{}", fleet.proxy.listener("logged").await);
    let text = curl(&["--data", "body", &url]).await;
    assert!(text.starts_with("yeswords"), "{text}");
    assert!(text.contains("body: body\n"), "{text}");
    let line = eventually("a line", async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().next().map(str::to_owned)
    })
    .await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["policies"], json!({"p.passed": "all"}), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_back_is_not_sent_on_without_end() {
    let fleet = Fleet::start().await;
    let url = fleet.commit(json!([]), json!([]), &[]).await;
    let own = url.trim_start_matches("http://").parse();
    let config = json!({"pre_route": [
        {"http": {"cluster": "own", "path": "/circle"}},
        {"report": {"to": "answer"}},
    ]});
    let mut policy = fleet.policy("circle", config);
    policy["http"] = json!({"clusters": ["own"], "timeout": "10s"});
    let mut route = documents::respond("circle", "/circle", "never");
    route["policies"] = at("circle", &["PRE_ROUTE"]);
    let own = documents::cluster("own", own.expect("an address"));
    fleet
        .server
        .client()
        .commit_live(&[policy, own, route], 1)
        .await;
    let before = responses(&fleet).await;
    let answer = get(&format!("{url}/circle"), &[]).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.text.contains("it goes in a circle"),
        "{}",
        answer.text
    );
    assert_eq!(responses(&fleet).await - before, 4);
}

/// How many responses the listener has sent.
async fn responses(fleet: &Fleet) -> u64 {
    let (_, page) = fleet.proxy.page("/metrics").await;
    let counted = "fleetway_listener_responses_total{listener=\"web\",class=\"2xx\"} ";
    let line = page.lines().find_map(|line| line.strip_prefix(counted));
    line.map_or(0, |count| count.parse().expect("a number"))
}
