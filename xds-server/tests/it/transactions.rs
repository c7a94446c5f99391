//! Many changes at once.

use fleetway_api::rest::Code;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, JSON, Server};

async fn transact(server: &Server, body: &Value) -> Answer {
    with_key(server, body, None).await
}

async fn with_key(server: &Server, body: &Value, key: Option<&str>) -> Answer {
    let mut headers = vec![("content-type", JSON)];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let body = body.to_string();
    server
        .with(Method::POST, "/v1/transactions", &headers, &body)
        .await
}

async fn revision(server: &Server) -> u64 {
    server.get("/v1/revisions").await.json()["revision"]
        .as_u64()
        .unwrap()
}

fn cluster(name: &str) -> Value {
    json!({"put": {"kind": "Cluster", "name": name}})
}

fn route(name: &str, prefix: &str, cluster: &str) -> Value {
    json!({"put": {
        "kind": "Route", "name": name,
        "match": {"path": {"prefix": prefix}},
        "forward": {"clusters": [{"name": cluster}]},
    }})
}

#[tokio::test]
async fn changes_are_judged_as_a_whole_whatever_their_order() {
    let server = Server::start().await.with_route().await;
    let answer = transact(
        &server,
        &json!({"message": "move", "operations": [
            {"delete": {"kind": "Cluster", "name": "a"}},
            route("users", "/users", "b"),
            cluster("b"),
        ]}),
    )
    .await
    .ok();
    assert_eq!(answer.header("x-fleetway-revision"), "3");
    assert_eq!(
        answer.json(),
        json!({"revision": 3, "dry_run": false, "results": [
            {"kind": "Cluster", "name": "a", "outcome": "deleted"},
            {"kind": "Route", "name": "users", "outcome": "updated"},
            {"kind": "Cluster", "name": "b", "outcome": "created"},
        ]})
    );
    let log = server.get("/v1/revisions/3").await.json();
    assert_eq!(
        (&log["message"], &log["changed"]),
        (&json!("move"), &json!(3))
    );
}

#[tokio::test]
async fn a_transaction_is_made_whole_or_not_at_all() {
    let server = Server::start().await;
    let answer = transact(
        &server,
        &json!({"operations": [cluster("a"), route("users", "/", "none")]}),
    )
    .await;
    let faults = answer.faults(422, Code::Invalid);
    assert!(
        faults[0].contains("there is no clusters/none"),
        "{faults:?}"
    );
    server
        .get("/v1/clusters/a")
        .await
        .problem(404, Code::NotFound);
    assert_eq!(revision(&server).await, 0);
}

#[tokio::test]
async fn faults_of_each_and_of_all_together_are_reported_at_once() {
    let server = Server::start().await.with_route().await;
    let bad = json!({"put": {"kind": "Cluster", "name": "bad", "connect_timeout": "0s"}});
    let unread = json!({"put": {"kind": "Cluster", "name": "unread", "x": 1}});
    let stale = json!({"delete": {"kind": "Route", "name": "users"}, "if_version": "1"});
    let answer = transact(
        &server,
        &json!({"operations": [
            bad, unread, stale, {"delete": {"kind": "Cluster", "name": "gone"}},
            route("x", "/x", "bad"), route("y", "/y", "unread"), route("z", "/z", "none"),
        ]}),
    )
    .await;
    let faults = answer.faults(422, Code::Invalid);
    for (fault, begins) in faults.iter().zip([
        "clusters/unread: x: unknown field",
        "clusters/bad: connect_timeout: must be",
        "routes/z: forward.clusters[0].name: there is no clusters/none",
        "routes/users: is at version 2 by now",
        "clusters/gone: does not exist",
    ]) {
        assert!(fault.starts_with(begins), "{fault}\nnot {begins}");
    }
    assert_eq!(faults.len(), 5, "{faults:#?}");
}

#[tokio::test]
async fn every_condition_that_does_not_hold_is_reported() {
    let server = Server::start().await.with_route().await;
    let gone = |name: &str| json!({"delete": {"kind": "Route", "name": name}});
    let one = transact(&server, &json!({"operations": [gone("x")]})).await;
    assert_eq!(
        one.problem(404, Code::NotFound).detail,
        "there is no routes/x"
    );
    let exists = json!({"put": {"kind": "Cluster", "name": "a"}, "if_version": "0"});
    let body = json!({"operations": [gone("x"), gone("y"), exists, gone("users")]});
    let faults = transact(&server, &body).await.faults(404, Code::NotFound);
    assert_eq!(
        faults,
        [
            "routes/x: does not exist",
            "routes/y: does not exist",
            "clusters/a: exists already",
        ]
    );
}

#[tokio::test]
async fn every_fault_of_every_operation_is_reported_with_its_place() {
    let server = Server::start().await;
    let answer = transact(
        &server,
        &json!({"operations": [
            cluster("fine"),
            {"put": {"kind": "Cluster", "name": "a", "endpoint": []}},
            {"put": {"kind": "Route", "name": "users", "match": {"path": {"prefix": "x"}}, "respond": {"status": 1}}},
            {"put": {"kind": "Route"}},
            {"put": {"name": "x"}},
            {"put": {"kind": "Cluster", "name": "p"}, "delete": {"kind": "Cluster", "name": "q"}},
            {},
            {"delete": {"kind": "Cluster", "name": "q", "fleet": "x"}},
            {"delete": {"kind": "Cluster", "name": "q"}, "if_version": "0"},
            {"put": {"kind": "Cluster", "name": "r"}, "if_version": "x"},
            {"remove": {}},
        ], "why": "x"}),
    )
    .await;
    let faults = answer.faults(422, Code::Invalid);
    for (fault, begins) in faults.iter().zip([
        "why: is not known here",
        "clusters/a: endpoint: unknown field",
        "operations[3].put: name: is missing",
        "operations[4].put: kind: is missing",
        "operations[5]: has `put` and `delete`",
        "operations[6]: has neither",
        "operations[7]: delete.fleet: unknown field",
        "operations[8]: if_version: \"0\" is the version of what does not exist",
        "operations[9]: if_version: must be a version",
        "operations[10]: remove: unknown field",
        "routes/users: match.path.prefix: must begin",
        "routes/users: respond.status",
    ]) {
        assert!(fault.starts_with(begins), "{fault}\nnot {begins}");
    }
    assert_eq!(faults.len(), 12, "{faults:#?}");
    for (body, says) in [
        (json!([]), "must be an object"),
        (json!({}), "operations: is missing"),
        (json!({"operations": {}}), "operations: must be a list"),
        (
            json!({"operations": [], "message": 1}),
            "message: must be a string",
        ),
    ] {
        let faults = transact(&server, &body).await.faults(422, Code::Invalid);
        assert!(faults[0].starts_with(says), "{faults:?}");
    }
}

#[tokio::test]
async fn an_answer_lists_no_more_faults_than_someone_may_read() {
    let server = Server::start().await;
    let endpoints = json!(vec![json!({}); 5000]);
    let one = json!({"put": {"kind": "Cluster", "name": "a", "endpoints": endpoints}});
    let one = transact(&server, &json!({"operations": [one]})).await;
    assert_eq!(one.faults(422, Code::Invalid).len(), 100);

    let unnamed = json!(vec![json!({"put": {"kind": "Cluster"}}); 1500]);
    let answer = transact(&server, &json!({"operations": unnamed})).await;
    let problem = answer.problem(422, Code::Invalid);
    assert_eq!(problem.errors.len(), 1000);
    assert!(problem.detail.contains("1500 faults"), "{}", problem.detail);
}

#[tokio::test]
async fn a_resource_is_changed_once_in_a_transaction() {
    let server = Server::start().await;
    let answer = transact(
        &server,
        &json!({"operations": [cluster("a"), cluster("a")]}),
    )
    .await;
    let faults = answer.faults(422, Code::Invalid);
    assert_eq!(
        faults,
        ["clusters/a: operations[1]: changes what operations[0] changes already: keep one of them"]
    );
}

#[tokio::test]
async fn each_operation_can_depend_on_a_version() {
    let server = Server::start().await.with_route().await;
    let put = |version: &str| {
        json!({"operations": [{
            "put": {"kind": "Cluster", "name": "a", "labels": {"n": version}},
            "if_version": version,
        }]})
    };
    transact(&server, &put("2"))
        .await
        .problem(412, Code::StaleVersion);
    transact(&server, &put("0"))
        .await
        .problem(409, Code::AlreadyExists);
    transact(&server, &put("1")).await.ok();
    let new = json!({"put": {"kind": "Cluster", "name": "new"}, "if_version": "0"});
    transact(&server, &json!({"operations": [new]})).await.ok();
    let delete = |version: &str| json!({"operations": [{"delete": {"kind": "Route", "name": "users"}, "if_version": version}]});
    transact(&server, &delete("1"))
        .await
        .problem(412, Code::StaleVersion);
    transact(&server, &delete("2")).await.ok();
    transact(
        &server,
        &json!({"operations": [{"delete": {"kind": "Route", "name": "users"}}]}),
    )
    .await
    .problem(404, Code::NotFound);
    let of_document = json!({"operations": [{"put": {"kind": "Cluster", "name": "a", "meta": {"version": "1"}}}]});
    transact(&server, &of_document)
        .await
        .problem(412, Code::StaleVersion);
    let both = json!({"operations": [{"put": {"kind": "Cluster", "name": "a", "meta": {"version": "3"}}, "if_version": "1"}]});
    let faults = transact(&server, &both).await.faults(422, Code::Invalid);
    assert!(faults[0].contains("name different versions"), "{faults:?}");
}

#[tokio::test]
async fn deleting_what_others_refer_to_names_them() {
    let server = Server::start().await.with_route().await;
    let body = json!({"operations": [{"delete": {"kind": "Cluster", "name": "a"}}, cluster("b")]});
    let problem = transact(&server, &body)
        .await
        .problem(409, Code::StillReferenced);
    assert_eq!(problem.referrers.len(), 1);
}

#[tokio::test]
async fn a_dry_run_of_a_transaction_stores_nothing() {
    let server = Server::start().await;
    let body = json!({"operations": [cluster("a")]}).to_string();
    let headers = [("content-type", JSON), ("idempotency-key", "k")];
    for _ in 0..2 {
        let answer = server
            .with(
                Method::POST,
                "/v1/transactions?dry_run=true",
                &headers,
                &body,
            )
            .await
            .ok();
        assert_eq!(answer.json()["dry_run"], true);
        assert_eq!(answer.json()["results"][0]["outcome"], "created");
        assert_eq!(answer.header("x-fleetway-revision"), "");
    }
    assert_eq!(revision(&server).await, 0);
    // The dry run did not use up the key.
    let answer = server
        .with(Method::POST, "/v1/transactions", &headers, &body)
        .await
        .ok();
    assert_eq!(answer.json()["dry_run"], false);
}

#[tokio::test]
async fn a_transaction_sent_again_under_its_key_is_made_once() {
    let mut server = Server::start().await;
    let body = json!({"operations": [cluster("a")]});
    let first = with_key(&server, &body, Some("k 1")).await.ok();
    server
        .put("/v1/clusters/b", "{}")
        .await
        .expect(StatusCode::CREATED);
    let again = with_key(&server, &body, Some("k 1")).await.ok();
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("x-fleetway-revision"), "1");
    server.restart().await;
    assert_eq!(
        with_key(&server, &body, Some("k 1")).await.ok().text,
        first.text
    );
    assert_eq!(revision(&server).await, 2);

    let other = json!({"operations": [cluster("c")]});
    with_key(&server, &other, Some("k 1"))
        .await
        .problem(422, Code::IdempotencyKeyReused);
    with_key(&server, &other, Some("k 2")).await.ok();
    let long = "x".repeat(256);
    for bad in ["", "a\tb", &long] {
        with_key(&server, &body, Some(bad))
            .await
            .problem(400, Code::BadRequest);
    }
}

#[tokio::test]
async fn a_transaction_that_changed_nothing_does_not_undo_what_came_after_it() {
    let server = Server::start().await.with_route().await;
    let body = json!({"operations": [{"put": {
        "kind": "Cluster", "name": "a", "endpoints": [{"address": "10.0.0.1:80"}],
    }}]});
    let first = with_key(&server, &body, Some("k")).await.ok();
    assert_eq!(first.json()["results"][0]["outcome"], "unchanged");
    server.put("/v1/clusters/a", "{}").await.ok();
    let again = with_key(&server, &body, Some("k")).await.ok();
    assert_eq!(again.text, first.text);
    assert_eq!(server.get("/v1/clusters/a").await.header("etag"), "\"3\"");
}

#[tokio::test]
async fn transactions_are_read_from_yaml_too() {
    let server = Server::start().await;
    let body = "
message: two clusters
operations:
  - put: {kind: Cluster, name: a, connect_timeout: 1s}
  - put:
      kind: Cluster
      name: b
";
    let answer = server.post("/v1/transactions", body).await.ok();
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 2);
}
