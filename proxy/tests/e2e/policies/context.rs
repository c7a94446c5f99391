//! What a policy sees, and what it changes.

use serde_json::json;

use super::{ALL, Fleet, at, get, send};
use crate::support::curl;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stage_sees_what_there_is_to_know() {
    let fleet = Fleet::start().await;
    let policy = fleet.told_by_fields("p");
    let url = fleet.commit(json!([]), at("p", &ALL), &[policy]).await;
    let url = format!("{url}/a/../b?q=1");
    let report = |to: &str| json!([{"report": {"to": to}}]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = get(
        &url,
        &[
            ("x-p-route", report("answer")),
            ("x-request-id", json!("7")),
            ("traceparent", json!(trace)),
            ("x-seen", json!("1")),
        ],
    )
    .await;
    let seen: serde_json::Value = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(seen["stage"], "pre-route");
    let request = &seen["request"];
    assert_eq!(request["id"], "7");
    assert_eq!(request["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(request["received"].as_u64() > Some(1_700_000_000_000_000_000));
    assert_eq!(request["client"]["address"], "127.0.0.1");
    assert_eq!(request["client"]["protocol"], "http11");
    assert_eq!(request["client"]["listener"], "web");
    assert!(request["client"]["connection"].as_u64() > Some(0));
    assert_eq!(request["tls"], json!(null));
    assert_eq!(request["method"], "GET");
    assert_eq!(request["scheme"], "http");
    assert_eq!(request["path"], "/b");
    assert_eq!(request["query"], "q=1");
    let headers = request["headers"].as_array().expect("a list");
    assert!(headers.contains(&json!(["x-seen", "1"])), "{headers:?}");
    assert!(
        headers.iter().all(|field| field[0] != "host"),
        "{headers:?}"
    );
    assert!(url.contains(request["authority"].as_str().expect("text")));

    let answer = get(&url, &[("x-p-upstream", report("answer"))]).await;
    let seen: serde_json::Value = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(seen["upstream"]["route"], "all");
    assert_eq!(seen["upstream"]["labels"], json!([["team", "checkout"]]));
    assert_eq!(seen["upstream"]["cluster"], "echo");
    assert_eq!(seen["upstream"]["path_with_query"], "/b?q=1");

    let answer = get(&url, &[("x-p-response", report("header"))]).await;
    let seen = answer.json("x-probe-post-response");
    assert_eq!(seen["response"]["status"], 200);
    let headers = seen["response"]["headers"].as_array().expect("a list");
    assert!(headers.contains(&json!(["x-upstream", "1"])), "{headers:?}");
    assert_eq!(seen["exchange"]["route"], "all");
    assert_eq!(seen["exchange"]["cluster"], "echo");
    assert_eq!(seen["exchange"]["endpoint"], fleet.echo.address.to_string());
    assert!(seen["exchange"]["duration"].as_u64() > Some(0));
    assert_eq!(seen["request"]["path"], "/b");
    // A call has an instance of its own.
    assert_eq!(seen["calls"], 1);

    let report = report("answer").to_string();
    let field = format!("x-p-route: {report}");
    let text = curl(&["--http2-prior-knowledge", "--header", &field, &url]).await;
    let seen: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(seen["request"]["client"]["protocol"], "http2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_changes_of_a_request_the_upstream_gets() {
    let fleet = Fleet::start().await;
    let policy = fleet.told_by_fields("p");
    let url = fleet.commit(json!([]), at("p", &ALL), &[policy]).await;
    for stage in ["x-p-route", "x-p-upstream"] {
        let actions = json!([
            {"set_header": {"name": "x-one", "value": "1"}},
            {"set_all_header": {"name": "x-many", "values": ["b", "a"]}},
            {"append_header": {"name": "x-many", "value": "c"}},
            {"delete_header": {"name": "x-gone"}},
            {"set_header": {"name": "content-length", "value": "3"}},
            {"set_header": {"name": "host", "value": "evil"}},
            {"set_header": {"name": "x bad", "value": "1"}},
            {"set_method": {"method": "PUT"}},
            {"set_path": {"path": "/x/../y"}},
            {"set_path": {"path": "no-path"}},
            {"set_query": {"query": "z=1"}},
            {"set_authority": {"authority": "other.example:80"}},
            {"report": {"to": "header"}},
        ]);
        let answer = get(
            &format!("{url}/a"),
            &[(stage, actions), ("x-gone", json!("1"))],
        )
        .await;
        assert!(answer.text.starts_with("PUT /y?z=1\n"), "{}", answer.text);
        assert_eq!(answer.sent("x-one"), ["1"]);
        assert_eq!(answer.sent("x-many"), ["b", "a", "c"]);
        assert_eq!(answer.sent("x-gone"), [""; 0]);
        assert_eq!(answer.sent("host"), ["other.example:80"]);
        assert_eq!(answer.sent("content-length"), ["0"]);
        let report = if stage == "x-p-route" {
            "x-probe-pre-route"
        } else {
            "x-probe-pre-upstream"
        };
        let report: serde_json::Value = serde_json::from_str(answer.sent(report)[0]).expect("JSON");
        let results = report["results"].to_string();
        assert_eq!(results.matches("forbidden").count(), 2, "{results}");
        assert_eq!(results.matches("invalid").count(), 2, "{results}");
    }
    // What only the later stage can.
    let actions = json!([
        {"set_upstream_authority": {"authority": "inner.example"}},
        {"set_timeout": {"milliseconds": 60_000}},
    ]);
    let answer = get(&format!("{url}/a"), &[("x-p-upstream", actions)]).await;
    assert_eq!(answer.sent("host"), ["inner.example"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_changes_of_a_response_the_client_gets() {
    let fleet = Fleet::start().await;
    let policy = fleet.told_by_fields("p");
    let url = fleet
        .commit(at("p", &["POST_RESPONSE"]), json!([]), &[policy])
        .await;
    let actions = json!([
        {"set_status": {"status": 418}},
        {"set_status": {"status": 100}},
        {"append_header": {"name": "x-upstream", "value": "2"}},
        {"set_header": {"name": "set-cookie", "value": "a=1"}},
        {"set_header": {"name": "transfer-encoding", "value": "gzip"}},
        {"set_header": {"name": "x-late", "value": "1", "of": "request"}},
        {"report": {"to": "header"}},
    ]);
    let client = reqwest::Client::new();
    for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
        let is_head = method == reqwest::Method::HEAD;
        let request = client.request(method, &url);
        let answer = send(request, &[("x-p-response", actions.clone())]).await;
        assert_eq!(answer.status, 418);
        assert_eq!(answer.values("x-upstream"), ["1", "2"]);
        assert_eq!(answer.values("set-cookie"), ["a=1"]);
        assert_eq!(answer.text.is_empty(), is_head, "{}", answer.text);
        let results = answer.json("x-probe-post-response")["results"].to_string();
        assert!(
            results.contains("forbidden") && results.contains("read-only"),
            "{results}"
        );
    }
    // The proxy's own answers pass it, too.
    let gone = fleet.server.client().commit(&[], &[("Route", "all")]).await;
    fleet.server.client().live(gone, 1).await;
    let answer = get(
        &url,
        &[("x-p-response", json!([{"set_status": {"status": 410}}]))],
    )
    .await;
    assert_eq!(
        (answer.status, &*answer.text),
        (410, "no route matches this request\n")
    );
}
