//! A policy that keeps failing shows on its proxy, in its metrics, and on the server.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Proxy, Server, documents, eventually, fleetway};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_keeps_failing_shows_until_it_succeeds() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let hostile = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/policies/hostile.wasm"
    );
    let (status, component) = rest
        .put_component(std::fs::read(hostile).expect("a component"))
        .await;
    assert_eq!(status, 201, "{component}");
    let policy = |config: Value| json!({"kind": "Policy", "name": "bad", "component": component["name"], "config": config});
    let mut route = documents::respond("r", "/", "well");
    route["policies"] = json!([{"policy": "bad", "stage": "PRE_ROUTE"}]);
    let web = documents::listener("web");
    rest.commit_live(&[web, policy(json!({"pre_route": "trap"})), route], 1)
        .await;
    let address = proxy.listener("web").await;
    let answer = async || {
        let answer = reqwest::get(format!("http://{address}/")).await;
        answer.expect("an answer").status()
    };
    for _ in 0..5 {
        assert_eq!(answer().await, StatusCode::INTERNAL_SERVER_ERROR);
    }

    let (_, page) = proxy.page("/policies").await;
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(page[0]["keeps_failing"]["cause"], "trap", "{page}");
    let (_, metrics) = proxy.page("/metrics").await;
    for line in [
        r#"fleetway_policy_calls_total{policy="bad",stage="pre-route"} 5"#,
        r#"fleetway_policy_failures_total{policy="bad",cause="trap"} 5"#,
        r#"fleetway_policy_failures_in_a_row{policy="bad"} 5"#,
    ] {
        assert!(metrics.lines().any(|other| other == line), "{metrics}");
    }
    let failing = async || {
        let node = rest.get("/v1/nodes/p1").await;
        node.get("failing_policies").cloned()
    };
    let shown = eventually("the server knows", failing).await;
    assert_eq!(
        (&shown[0]["policy"], &shown[0]["cause"]),
        (&json!("bad"), &json!("trap"))
    );
    let (code, out, _) = fleetway(server.rest, &["status"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("policy bad keeps failing since"), "{out}");

    let revision = rest.commit(&[policy(json!({}))], &[]).await;
    rest.live(revision, 1).await;
    assert_eq!(answer().await, StatusCode::OK);
    eventually("the server knows that it is mended", async || {
        failing().await.is_none().then_some(())
    })
    .await;
    let (_, page) = proxy.page("/policies").await;
    assert!(!page.contains("keeps_failing"), "{page}");
}
