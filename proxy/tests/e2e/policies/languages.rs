//! Policies in Python and JavaScript beside one in Rust, on one way. Left out where they are not built.

use serde_json::{Value, json};

use super::{at, component, get, path};
use crate::support::{Proxy, Server, Upstream, documents};

/// Commits what has interpreters compiled, which takes minutes where nothing is optimised.
async fn compiled(server: &Server, documents: &[Value]) {
    let revision = server.client().commit(documents, &[]).await;
    let path = format!("/v1/revisions/{revision}/status?wait=30s&nodes=all");
    for _ in 0..20 {
        let status = server.client().get(&path).await;
        if status["live"] == json!(true) && status["nodes"].as_u64() > Some(0) {
            return;
        }
    }
    panic!("revision {revision} is not live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_in_three_languages_work_on_one_request() {
    let names = [
        "languages/tenant-limit",
        "languages/security-headers",
        "header-rules",
    ];
    if !names.iter().all(|name| path(name).exists()) {
        return;
    }
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let echo = Upstream::answering(|head, _| {
        let tenant = head.headers.get("x-checked").is_some();
        http::Response::new(tenant.to_string())
    })
    .await;
    let mut digests = Vec::new();
    for name in names {
        let (status, answer) = server.client().put_component(component(name)).await;
        assert_eq!(status, 201, "{answer:#}");
        digests.push(answer["name"].as_str().expect("a name").to_owned());
    }
    let limits = json!({"timeout": "10s", "memory": 128 << 20});
    let policy = |name: &str, digest: &str, config: Value| json!({"kind": "Policy", "name": name, "component": digest, "config": config, "limits": limits});
    let config = json!({"header": "x-tenant", "limit": 2, "window_seconds": 86_400});
    let mut all = documents::forward("all", "/", "echo");
    let stages = [
        at("limit", &["PRE_ROUTE"]),
        at("rules", &["PRE_ROUTE"]),
        at("browsers", &["POST_RESPONSE"]),
    ];
    let stages = stages
        .iter()
        .flat_map(|at| at.as_array().expect("a list").clone());
    all["policies"] = stages.collect();
    let rules = json!({"request": [{"set": {"name": "x-checked", "value": "1"}}]});
    let wanted = [
        policy("limit", &digests[0], config),
        policy("browsers", &digests[1], json!({"frame": "DENY"})),
        policy("rules", &digests[2], rules),
        documents::listener("web"),
        documents::cluster("echo", echo.address),
        all,
    ];
    compiled(&server, &wanted).await;
    let url = format!("http://{}", proxy.listener("web").await);
    for expected in [200, 200, 429] {
        let answer = get(&url, &[("x-tenant", json!("one"))]).await;
        assert_eq!(answer.status, expected, "{}", answer.text);
        // The one of responses sees also what the one of requests has answered.
        assert_eq!(answer.values("x-frame-options"), ["DENY"]);
        assert_eq!(answer.text == "true", expected == 200);
    }
    assert_eq!(get(&url, &[("x-tenant", json!("two"))]).await.status, 200);

    // What is wrong with a configuration is told by the component, at the field.
    let wrong = policy(
        "limit",
        &digests[0],
        json!({"header": "x-tenant", "limit": 0}),
    );
    let (status, problem) = server
        .client()
        .try_transaction(&[wrong], &[])
        .await
        .expect("an answer");
    assert_eq!(status, 422, "{problem:#}");
    assert_eq!(problem["errors"][0]["field"], "config/limit", "{problem:#}");
}
