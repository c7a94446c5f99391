//! Components over REST: uploaded as they are, named by their bytes, kept through a restart, deleted
//! when nothing has named them for long.

use std::time::Duration;

use bytes::Bytes;
use fleetway_api::{component_digest, rest::Code};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Answer, Server, send};

/// The bytes of a sample.
fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/policies");
    std::fs::read(format!("{folder}/{name}.wasm")).unwrap()
}

/// The sample `header-rules`, made another component by a custom section that says `text` and is
/// `length` bytes long besides.
pub(crate) fn component(text: &str, length: usize) -> Bytes {
    let mut wasm = sample("header-rules");
    wasm.push(0);
    let content = text.len() + length;
    let mut left = content + 1;
    while left >= 128 {
        wasm.push(u8::try_from(left & 127).unwrap() | 128);
        left >>= 7;
    }
    wasm.push(u8::try_from(left).unwrap());
    wasm.push(0);
    wasm.extend(text.as_bytes());
    wasm.resize(wasm.len() + length, b'.');
    wasm.into()
}

pub(crate) async fn upload(server: &Server, wasm: &Bytes) -> Answer {
    let request = server
        .request(Method::PUT, "/v1/components")
        .header("content-type", "application/wasm")
        .body(wasm.clone());
    send(request).await
}

#[tokio::test]
async fn a_component_is_named_by_its_bytes_and_kept_through_a_restart() {
    let mut server = Server::start().await;
    let wasm = component("one", 20);
    let digest = component_digest(&wasm);
    let made = upload(&server, &wasm).await.expect(StatusCode::CREATED);
    assert_eq!(made.header("location"), format!("/v1/components/{digest}"));
    assert_eq!(made.header("x-fleetway-revision"), "1");
    let document = made.json();
    assert_eq!(document["name"], digest);
    assert_eq!(document["facts"]["size"], wasm.len());
    assert!(document.get("wasm").is_none());

    // The same again makes no revision.
    let again = upload(&server, &wasm).await.ok();
    assert_eq!(again.json()["meta"]["version"], "1");
    // Its labels can be changed, its bytes stay, and an upload does not undo it.
    let one = format!("/v1/components/{digest}");
    server.patch(&one, "{labels: {team: edge}}").await.ok();
    let read = server.get(&one).await.ok().json();
    assert_eq!(read["facts"]["size"], wasm.len());
    server.put(&one, &read.to_string()).await.ok();
    upload(&server, &wasm).await.ok();
    server.restart().await;

    let read = server.get(&one).await.ok();
    assert_eq!(read.json()["labels"], json!({"team": "edge"}));
    assert_eq!(read.json()["meta"]["version"], "2");
    let read = server.request(Method::GET, &format!("{one}/wasm")).send();
    let read = read.await.unwrap();
    assert_eq!(read.headers()["content-type"], "application/wasm");
    assert_eq!(component_digest(&read.bytes().await.unwrap()), digest);
    let list = server.get("/v1/components").await.ok().json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let revision = server.get("/v1/revisions/1").await.ok().json();
    assert_eq!(revision["changes"][0]["after"]["facts"]["size"], wasm.len());
    assert!(revision["changes"][0]["after"].get("wasm").is_none());
}

#[tokio::test]
async fn what_is_no_component_or_too_large_changes_nothing() {
    let server = Server::start_with(|config| config.max_component_size = 1000).await;
    let refused = upload(&server, &Bytes::from_static(b"\0asm\x01\0\0\0")).await;
    let faults = refused.faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("components: wasm: is a core module"),
        "{faults:?}"
    );
    let large = upload(&server, &component("large", 1000)).await;
    let problem = large.problem(413, Code::TooLarge);
    assert!(problem.detail.contains("`max_component_size`"), "{problem}");
    // As it comes, without its length.
    let pieces = futures_util::stream::iter(
        component("large", 5000)
            .chunks(100)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect::<Vec<_>>(),
    );
    let request = server
        .request(Method::PUT, "/v1/components")
        .header("content-type", "application/wasm")
        .body(reqwest::Body::wrap_stream(pieces));
    send(request).await.problem(413, Code::TooLarge);
    let json = server.put("/v1/components", "{}").await;
    let problem = json.problem(415, Code::UnsupportedMediaType);
    assert!(problem.detail.contains("application/wasm"), "{problem}");
    let digest = "0".repeat(64);
    let bare = server.put(&format!("/v1/components/{digest}"), "{}").await;
    let faults = bare.faults(422, Code::Invalid);
    assert!(faults[0].contains("wasm: is missing: upload"), "{faults:?}");
    server
        .post("/v1/components", "{}")
        .await
        .problem(405, Code::MethodNotAllowed);
    let list = server.get("/v1/components").await.ok().json();
    assert_eq!((&list["items"], &list["revision"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn what_is_no_policy_is_refused_with_what_it_lacks() {
    let server = Server::start().await;
    for (text, says) in [
        ("(component)", "it exports no stage: a policy exports"),
        (
            r#"(component (import "fleetway:policy/types@1.1.0" (instance)))"#,
            "it imports what this version does not offer: fleetway:policy/types@1.1.0",
        ),
        (
            r#"(component (import "wasi:sockets/tcp@0.2.0" (instance)) (import "other:net/http@1.0.0" (instance)))"#,
            "it imports what this version does not offer: other:net/http@1.0.0",
        ),
    ] {
        let wasm = Bytes::from(wat::parse_str(text).unwrap());
        let refused = upload(&server, &wasm).await;
        let faults = refused.faults(422, Code::Invalid);
        let digest = component_digest(&wasm);
        let start = format!("components/{digest}: wasm: {says}");
        assert!(faults[0].starts_with(&start), "{faults:?}");
    }
    let broken = sample("header-rules");
    let broken = Bytes::from(broken[..broken.len() / 2].to_vec());
    let faults = upload(&server, &broken).await.faults(422, Code::Invalid);
    assert!(
        faults[0].contains(": wasm: this is no component"),
        "{faults:?}"
    );
    let list = server.get("/v1/components").await.ok().json();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn a_component_has_its_say_on_configurations_and_stages() {
    let server = Server::start().await;
    let wasm = Bytes::from(sample("header-rules"));
    let digest = component_digest(&wasm);
    let made = upload(&server, &wasm).await.expect(StatusCode::CREATED);
    let facts = &made.json()["facts"];
    assert_eq!(facts["stages"], json!(["PRE_ROUTE", "POST_RESPONSE"]));
    assert_eq!(facts["abi"], "1.0.0");
    let policy = |config: &str| format!("{{component: '{digest}', config: {config}}}");
    let body = policy("{request: [{set: {name: a}}]}");
    let put = server.put("/v1/policies/p", &body);
    let faults = put.await.faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("policies/p: config/request/0"),
        "{faults:?}"
    );
    let body = policy("{}");
    let put = server.put("/v1/policies/p", &body);
    put.await.expect(StatusCode::CREATED);
    let route = |attached: &str| {
        format!(
            "{{match: {{path: {{prefix: /}}}}, policies: [{{policy: p, {attached}}}], forward: {{clusters: [{{name: a}}]}}}}"
        )
    };
    let server = server.with_cluster().await;
    let body = route("stage: PRE_UPSTREAM");
    let put = server.put("/v1/routes/r", &body);
    assert_eq!(
        put.await.faults(422, Code::Invalid),
        [
            "routes/r: policies[0].stage: is PRE_UPSTREAM, at which the component does nothing: give PRE_ROUTE or POST_RESPONSE"
        ]
    );
    let body = route("stage: PRE_ROUTE, config: {other: 1}");
    let put = server.put("/v1/routes/r", &body);
    let faults = put.await.faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("routes/r: policies[0].config"),
        "{faults:?}"
    );
    let body = route("stage: POST_RESPONSE");
    let put = server.put("/v1/routes/r", &body);
    put.await.expect(StatusCode::CREATED);
    let streamed = format!("{{component: '{digest}', body: STREAMED}}");
    let faults = server.put("/v1/policies/p", &streamed).await;
    let faults = faults.faults(422, Code::Invalid);
    assert!(
        faults[0]
            .starts_with("routes/r: policies[0].stage: is POST_RESPONSE, where `body: STREAMED`"),
        "{faults:?}"
    );
}

#[tokio::test]
async fn a_component_is_held_by_policies_and_they_by_routes() {
    let server = Server::start().await;
    let wasm = component("one", 0);
    let digest = component_digest(&wasm);
    let policy = format!("{{component: '{digest}', config: {{request: [], response: []}}}}");
    let early = server.put("/v1/policies/p", &policy).await;
    let faults = early.faults(422, Code::Invalid);
    assert!(faults[0].starts_with(&format!(
        "policies/p: component: there is no components/{digest}"
    )));
    upload(&server, &wasm).await.expect(StatusCode::CREATED);
    server
        .put("/v1/policies/p", &policy)
        .await
        .expect(StatusCode::CREATED);
    let route = "{policies: [{policy: p, stage: PRE_ROUTE, config: {request: null}}], respond: {status: 204}}";
    server
        .put("/v1/routes/r", route)
        .await
        .expect(StatusCode::CREATED);
    let held = server.delete(&format!("/v1/components/{digest}")).await;
    let problem = held.problem(409, Code::StillReferenced);
    assert_eq!(problem.referrers[0].to_string(), "policies/p");
    server
        .delete("/v1/policies/p")
        .await
        .problem(409, Code::StillReferenced);
    server.delete("/v1/routes/r").await.ok();
    server.delete("/v1/policies/p").await.ok();
    server
        .delete(&format!("/v1/components/{digest}"))
        .await
        .ok();
    server
        .get(&format!("/v1/components/{digest}/wasm"))
        .await
        .problem(404, Code::NotFound);
}

#[tokio::test]
async fn a_transaction_brings_component_policy_and_route_in_one_revision() {
    use base64::Engine as _;
    let server = Server::start().await;
    let wasm = component("one", 0);
    let digest = component_digest(&wasm);
    let base64 = base64::engine::general_purpose::STANDARD.encode(&wasm);
    let put = json!({"operations": [
        {"put": {"kind": "Route", "name": "r", "policies": [{"policy": "p", "stage": "POST_RESPONSE"}], "respond": {"status": 204}}},
        {"put": {"kind": "Policy", "name": "p", "component": digest}},
        {"put": {"kind": "Component", "name": digest, "wasm": base64}},
    ]});
    let done = server
        .post("/v1/transactions", &put.to_string())
        .await
        .ok()
        .json();
    assert_eq!(done["revision"], 1);
    let read = server
        .get(&format!("/v1/components/{digest}"))
        .await
        .ok()
        .json();
    assert_eq!(read["facts"]["size"], wasm.len());
}

#[tokio::test]
async fn what_no_policy_names_for_long_is_deleted_by_the_server() {
    let server = Server::start_with(|config| {
        config.component_retention = Some(Duration::from_millis(1));
    })
    .await;
    let wasm = component("one", 0);
    let digest = component_digest(&wasm);
    let base64 = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&wasm)
    };
    // Named from the start, so it stays.
    let put = json!({"operations": [
        {"put": {"kind": "Policy", "name": "p", "component": digest}},
        {"put": {"kind": "Component", "name": digest, "wasm": base64}},
    ]});
    server.post("/v1/transactions", &put.to_string()).await.ok();
    upload(&server, &component("two", 0))
        .await
        .expect(StatusCode::CREATED);
    let deleted = until_revision(&server, 3).await;
    assert_eq!(
        deleted["changes"][0]["name"],
        component_digest(&component("two", 0))
    );
    assert_eq!(deleted["author"], "fleetway-xds");
    server.get(&format!("/v1/components/{digest}")).await.ok();
    server.delete("/v1/policies/p").await.ok();
    let deleted = until_revision(&server, 5).await;
    assert_eq!(deleted["changes"][0]["name"], digest);
    let message = deleted["message"].as_str().unwrap();
    assert!(
        message.starts_with("No policy has named it for"),
        "{message}"
    );
}

#[tokio::test]
async fn how_long_a_component_has_been_idle_is_known_after_a_restart() {
    let mut server = Server::start_with(|config| config.component_retention = None).await;
    let wasm = component("one", 0);
    upload(&server, &wasm).await.expect(StatusCode::CREATED);
    server
        .restart_with(|config| config.component_retention = Some(Duration::from_secs(3600)))
        .await;
    // An hour from the upload, or from the start: neither is over.
    server
        .get(&format!("/v1/components/{}", component_digest(&wasm)))
        .await
        .ok();
    let list = server.get("/v1/revisions").await.ok().json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    server
        .restart_with(|config| config.component_retention = Some(Duration::from_millis(1)))
        .await;
    until_revision(&server, 2).await;
}

/// The revision, once it is there: others are made meanwhile by nobody.
async fn until_revision(server: &Server, number: u64) -> serde_json::Value {
    loop {
        let answer = server.get(&format!("/v1/revisions/{number}")).await;
        if answer.status == StatusCode::OK {
            return answer.json();
        }
        tokio::task::yield_now().await;
    }
}
