//! One resource at a time.

use fleetway_api::rest::Code;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{self, JSON, ROUTE, Server, YAML};

#[tokio::test]
async fn a_put_creates_and_then_replaces() {
    let server = Server::start().await;
    let created = server
        .put("/v1/clusters/a", "{endpoints: [{address: '10.0.0.1:80'}]}")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(created.header("location"), "/v1/clusters/a");
    assert_eq!(created.header("etag"), "\"1\"");
    assert_eq!(created.header("x-fleetway-revision"), "1");
    let document = created.json();
    assert_eq!(document["kind"], "Cluster");
    assert_eq!(document["meta"]["version"], "1");
    assert_eq!(document["meta"]["revision"], "1");
    assert_eq!(document["meta"]["updated_by"], "anonymous");

    let replaced = server.put("/v1/clusters/a", "{}").await.ok();
    assert_eq!(replaced.header("location"), "");
    assert_eq!(replaced.json()["meta"]["version"], "2");
    assert_eq!(replaced.json().get("endpoints"), None);
    assert_eq!(
        replaced.json()["meta"]["created_at"],
        document["meta"]["created_at"]
    );
}

#[tokio::test]
async fn a_put_of_what_is_there_changes_nothing() {
    let server = Server::start().await.with_route().await;
    let same = server
        .put("/v1/clusters/a", "{endpoints: [{address: '10.0.0.1:80'}]}")
        .await
        .ok();
    assert_eq!(same.header("etag"), "\"1\"", "the version stays");
    assert_eq!(same.header("x-fleetway-revision"), "2");
    assert_eq!(same.json()["meta"]["revision"], "2");
}

#[tokio::test]
async fn a_get_answers_the_document_with_its_version() {
    let server = Server::start().await.with_route().await;
    let answer = server.get("/v1/routes/users").await.ok();
    assert_eq!(answer.header("etag"), "\"2\"");
    let document = answer.json();
    assert_eq!(document["kind"], "Route");
    assert_eq!(document["name"], "users");
    assert_eq!(document["forward"]["timeout"], "2s");
    assert!(
        document["meta"]["created_at"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    // What was read can be written back.
    let again = server
        .with(
            Method::PUT,
            "/v1/routes/users",
            &[("content-type", JSON)],
            &answer.text,
        )
        .await
        .ok();
    assert_eq!(again.header("etag"), "\"2\"");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = Server::start().await;
    for path in [
        "/v1/routes/none",
        "/v1/routes/NoName",
        "/v1/revisions/1",
        "/v1/revisions/x",
        "/v1/nodes/n1",
    ] {
        server.get(path).await.problem(404, Code::NotFound);
    }
    server
        .delete("/v1/routes/none")
        .await
        .problem(404, Code::NotFound);
    server
        .patch("/v1/routes/none", "{}")
        .await
        .problem(404, Code::NotFound);
}

#[tokio::test]
async fn a_post_creates_and_refuses_what_exists() {
    let server = Server::start().await;
    let created = server
        .post("/v1/clusters", "{name: a}")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(created.header("location"), "/v1/clusters/a");
    server
        .post("/v1/clusters", "{kind: Cluster, name: a}")
        .await
        .problem(409, Code::AlreadyExists);
    let faults = server
        .post("/v1/clusters", "{}")
        .await
        .faults(422, Code::Invalid);
    assert_eq!(
        faults,
        ["body: name: is missing: every resource needs a name"]
    );
}

#[tokio::test]
async fn kind_and_name_must_agree_with_the_path() {
    let server = Server::start().await;
    let faults = server
        .put("/v1/clusters/a", "{kind: Route}")
        .await
        .faults(422, Code::Invalid);
    assert_eq!(
        faults,
        ["clusters/a: kind: is Route but the path says Cluster"]
    );
    let faults = server
        .put("/v1/clusters/a", "{name: b}")
        .await
        .faults(422, Code::Invalid);
    assert_eq!(
        faults,
        ["clusters/a: name: is \"b\" but the path says \"a\""]
    );
    let faults = server
        .put("/v1/clusters/A", "{}")
        .await
        .faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("clusters/A: name: must be 1 to 253"),
        "{faults:?}"
    );
    assert_eq!(server.get("/v1/revisions").await.json()["revision"], 0);
}

#[tokio::test]
async fn every_fault_of_a_document_is_reported_and_nothing_is_changed() {
    let server = Server::start().await;
    let faults = server
        .put(
            "/v1/routes/users",
            "{match: {path: {prefix: users}, hosts: ['a:80']}, forward: {clusters: []}}",
        )
        .await
        .faults(422, Code::Invalid);
    assert_eq!(faults.len(), 3, "{faults:?}");
    let faults = server
        .put("/v1/routes/users", ROUTE)
        .await
        .faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("routes/users: forward.clusters[0].name: there is no clusters/a"),
        "{faults:?}"
    );
    assert_eq!(server.get("/v1/revisions").await.json()["revision"], 0);
}

#[tokio::test]
async fn bodies_are_json_or_yaml_by_content_type() {
    let server = Server::start().await;
    for (content_type, body) in [
        ("application/json", "{\"labels\": {\"n\": \"1\"}}"),
        (
            "application/json; charset=utf-8",
            "{\"labels\": {\"n\": \"2\"}}",
        ),
        ("Application/YAML", "labels: {n: '3'}"),
        ("text/yaml", "labels: {n: '4'}"),
    ] {
        let answer = server
            .with(
                Method::PUT,
                "/v1/clusters/a",
                &[("content-type", content_type)],
                body,
            )
            .await;
        assert!(
            answer.status.is_success(),
            "{content_type}: {}",
            answer.text
        );
    }
    let bare = server
        .with(
            Method::PUT,
            "/v1/clusters/a",
            &[],
            "{\"labels\": {\"n\": \"5\"}}",
        )
        .await;
    bare.ok();
    for wrong in ["text/html", "application/x-www-form-urlencoded", "yaml"] {
        server
            .with(
                Method::PUT,
                "/v1/clusters/a",
                &[("content-type", wrong)],
                "{}",
            )
            .await
            .problem(415, Code::UnsupportedMediaType);
    }
}

#[tokio::test]
async fn text_that_is_not_well_formed_is_a_bad_request() {
    let server = Server::start().await;
    for (content_type, body, says) in [
        (JSON, "{", "not well-formed JSON"),
        (JSON, "", "not well-formed JSON"),
        (
            JSON,
            "{\"name\": \"a\", \"name\": \"a\"}",
            "the key \"name\" is there twice",
        ),
        (YAML, "a: [", "not well-formed YAML"),
        (YAML, "{}\n---\n{}", "holds 2 documents"),
        (YAML, "", "holds no document"),
    ] {
        let faults = server
            .with(
                Method::PUT,
                "/v1/clusters/a",
                &[("content-type", content_type)],
                body,
            )
            .await
            .faults(400, Code::BadRequest);
        assert!(faults[0].contains(says), "{faults:?}");
    }
    let faults = server
        .put("/v1/clusters/a", "[{}]")
        .await
        .faults(422, Code::Invalid);
    assert!(faults[0].contains("must be an object"), "{faults:?}");
    let broken = server
        .request(Method::PUT, "/v1/clusters/a")
        .body(vec![b'"', 0xff, b'"']);
    crate::support::send(broken)
        .await
        .problem(400, Code::BadRequest);
}

#[tokio::test]
async fn answers_are_json_or_yaml_by_accept() {
    let server = Server::start().await.with_route().await;
    let yaml = server
        .with(Method::GET, "/v1/routes/users", &[("accept", YAML)], "")
        .await
        .ok();
    assert_eq!(yaml.header("content-type"), YAML);
    assert!(
        yaml.text.starts_with("kind: Route\nname: users\n"),
        "{}",
        yaml.text
    );
    server.put("/v1/routes/users", &yaml.text).await.ok();
    let page = server
        .with(Method::GET, "/v1/routes", &[("accept", YAML)], "")
        .await
        .ok();
    assert!(page.text.starts_with("items:"), "{}", page.text);
    server
        .with(Method::GET, "/v1/routes", &[("accept", "text/html")], "")
        .await
        .ok()
        .json();
    // Errors are always JSON.
    server
        .with(Method::GET, "/v1/routes/none", &[("accept", YAML)], "")
        .await
        .problem(404, Code::NotFound);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let server = Server::start().await;
    let large = format!("{{\"labels\": {{\"a\": \"{}\"}}}}", "x".repeat(1 << 20));
    server
        .put("/v1/clusters/a", &large)
        .await
        .problem(413, Code::TooLarge);
    let chunks = large
        .into_bytes()
        .chunks(1000)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
        .collect::<Vec<_>>();
    let streamed = server
        .request(Method::PUT, "/v1/clusters/a")
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(
            chunks,
        )));
    crate::support::send(streamed)
        .await
        .problem(413, Code::TooLarge);
}

#[tokio::test]
async fn a_write_can_depend_on_the_version_read() {
    let server = Server::start().await.with_route().await;
    let put = async |if_match: &str, body: &str| {
        server
            .with(
                Method::PUT,
                "/v1/clusters/a",
                &[("if-match", if_match)],
                body,
            )
            .await
    };
    let stale = put("\"9\"", "{}").await;
    let problem = stale.problem(412, Code::StaleVersion);
    assert!(
        problem.detail.contains("clusters/a is at version 1 by now"),
        "{problem}"
    );
    put("W/\"1\"", "{}").await.problem(412, Code::StaleVersion);
    put("1", "{}").await.problem(400, Code::BadRequest);
    let answer = put("\"7\", \"1\"", "{\"labels\": {\"n\": \"1\"}}")
        .await
        .ok();
    assert_eq!(answer.header("etag"), "\"3\"");
    put("\"3\"", "{\"labels\": {\"n\": \"2\"}}").await.ok();
    put("*", "{}").await.ok();
    server
        .with(Method::PUT, "/v1/clusters/new", &[("if-match", "*")], "{}")
        .await
        .problem(412, Code::StaleVersion);
    server
        .with(
            Method::DELETE,
            "/v1/routes/users",
            &[("if-match", "\"1\"")],
            "",
        )
        .await
        .problem(412, Code::StaleVersion);
    server
        .with(
            Method::DELETE,
            "/v1/routes/users",
            &[("if-match", "\"2\"")],
            "",
        )
        .await
        .ok();
}

#[tokio::test]
async fn the_version_in_a_document_makes_the_write_conditional() {
    let server = Server::start().await.with_route().await;
    server
        .put("/v1/clusters/a", "{meta: {version: '9'}}")
        .await
        .problem(412, Code::StaleVersion);
    server
        .put("/v1/clusters/new", "{meta: {version: '1'}}")
        .await
        .problem(412, Code::StaleVersion);
    server
        .put("/v1/clusters/a", "{meta: {version: '0'}}")
        .await
        .problem(412, Code::StaleVersion);
    server
        .put("/v1/clusters/new", "{meta: {version: '0'}}")
        .await
        .expect(StatusCode::CREATED);
    server
        .put("/v1/clusters/a", "{meta: {version: '1'}, labels: {n: '1'}}")
        .await
        .ok();
    server
        .patch("/v1/clusters/a", "{meta: {version: '1'}, labels: {n: '2'}}")
        .await
        .problem(412, Code::StaleVersion);
    server
        .patch("/v1/clusters/a", "{meta: {version: '4'}, labels: {n: '2'}}")
        .await
        .ok();
    // Both conditions must hold.
    let both = [("if-match", "\"5\"")];
    server
        .with(
            Method::PUT,
            "/v1/clusters/a",
            &both,
            "{\"meta\": {\"version\": \"4\"}}",
        )
        .await
        .problem(412, Code::StaleVersion);
}

#[tokio::test]
async fn a_write_can_be_for_creation_only() {
    let server = Server::start().await;
    let create = [("if-none-match", "*")];
    server
        .with(Method::PUT, "/v1/clusters/a", &create, "{}")
        .await
        .expect(StatusCode::CREATED);
    server
        .with(Method::PUT, "/v1/clusters/a", &create, "{}")
        .await
        .problem(412, Code::StaleVersion);
    let other = [("if-none-match", "\"1\"")];
    server
        .with(Method::PUT, "/v1/clusters/a", &other, "{}")
        .await
        .problem(400, Code::BadRequest);
}

#[tokio::test]
async fn a_read_of_what_the_client_has_is_not_modified() {
    let server = Server::start().await.with_route().await;
    for tag in ["\"2\"", "W/\"2\"", "\"1\", \"2\"", "*"] {
        let answer = server
            .with(
                Method::GET,
                "/v1/routes/users",
                &[("if-none-match", tag)],
                "",
            )
            .await;
        let answer = answer.expect(StatusCode::NOT_MODIFIED);
        assert_eq!((answer.header("etag"), answer.text.as_str()), ("\"2\"", ""));
    }
    server
        .with(
            Method::GET,
            "/v1/routes/users",
            &[("if-none-match", "\"1\"")],
            "",
        )
        .await
        .ok();
}

#[tokio::test]
async fn a_patch_changes_parts() {
    let server = Server::start().await.with_route().await;
    let patched = server
        .with(
            Method::PATCH,
            "/v1/routes/users",
            &[("content-type", "application/merge-patch+json")],
            r#"{"priority": 5, "forward": {"timeout": null}, "labels": {"env": "prod"}}"#,
        )
        .await
        .ok();
    let document = patched.json();
    assert_eq!(document["priority"], 5);
    assert_eq!(document["forward"], json!({"clusters": [{"name": "a"}]}));
    assert_eq!(document["match"]["path"]["prefix"], "/users");
    assert_eq!(patched.header("etag"), "\"3\"");
    let document = server
        .patch(
            "/v1/routes/users",
            "{forward: null, respond: {status: 204}}",
        )
        .await
        .ok()
        .json();
    assert_eq!(document.get("forward"), None);
    let faults = server
        .patch("/v1/routes/users", "{priorty: 1}")
        .await
        .faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("routes/users: priorty: unknown field"),
        "{faults:?}"
    );
    let faults = server
        .patch("/v1/routes/users", "{name: b}")
        .await
        .faults(422, Code::Invalid);
    assert!(faults[0].contains("the path says \"users\""), "{faults:?}");
    let faults = server
        .patch("/v1/routes/users", "[]")
        .await
        .faults(422, Code::Invalid);
    assert!(faults[0].contains("must be an object"), "{faults:?}");
    server
        .with(
            Method::PATCH,
            "/v1/routes/users",
            &[("if-match", "\"3\"")],
            "{}",
        )
        .await
        .problem(412, Code::StaleVersion);
}

#[tokio::test]
async fn a_patch_takes_out_only_what_there_could_be() {
    let server = Server::start().await.with_route().await;
    let patch = "{priority: null, labels: {x: null}, forward: {timout: null}, prio: null}";
    let faults = server.patch("/v1/routes/users", patch).await;
    let faults = faults.faults(422, Code::Invalid);
    let places: Vec<_> = faults
        .iter()
        .filter_map(|fault| fault.split_once(": unknown field"))
        .map(|(place, _)| place)
        .collect();
    assert_eq!(
        places,
        ["routes/users: forward.timout", "routes/users: prio"]
    );
    let patch = "{priority: null, labels: {x: null}, redirect: null, match: {hosts: null}}";
    let unchanged = server.patch("/v1/routes/users", patch).await.ok();
    assert_eq!(unchanged.header("etag"), "\"2\"");
}

#[tokio::test]
async fn two_actions_in_one_route_are_told_as_such() {
    let server = Server::start().await.with_route().await;
    let faults = server
        .patch("/v1/routes/users", "{respond: {status: 204}}")
        .await
        .faults(422, Code::Invalid);
    assert_eq!(
        faults,
        [
            "routes/users: respond: is set beside another of which only one can be: take one of them out"
        ]
    );
    let exchange = "{respond: {status: 204}, forward: null}";
    let route = server.patch("/v1/routes/users", exchange).await.ok().json();
    assert_eq!(route["respond"]["status"], 204);
    assert_eq!(route.get("forward"), None);
}

#[tokio::test]
async fn patches_made_at_once_are_all_kept() {
    let server = Server::start().await.with_route().await;
    let patches = (0..8).map(|n| {
        let body = format!("{{labels: {{n{n}: x}}}}");
        let server = &server;
        async move { server.patch("/v1/clusters/a", &body).await.ok() }
    });
    futures_util::future::join_all(patches).await;
    let labels = server.get("/v1/clusters/a").await.json()["labels"].clone();
    assert_eq!(labels.as_object().unwrap().len(), 8);
}

#[tokio::test]
async fn a_delete_answers_what_was_done() {
    let server = Server::start().await.with_route().await;
    let answer = server.delete("/v1/routes/users").await.ok();
    assert_eq!(answer.header("x-fleetway-revision"), "3");
    assert_eq!(
        answer.json(),
        json!({"revision": 3, "dry_run": false, "results": [{"kind": "Route", "name": "users", "outcome": "deleted"}]})
    );
    server
        .get("/v1/routes/users")
        .await
        .problem(404, Code::NotFound);
}

#[tokio::test]
async fn what_is_still_referred_to_is_not_deleted() {
    let server = Server::start().await.with_route().await;
    let problem = server
        .delete("/v1/clusters/a")
        .await
        .problem(409, Code::StillReferenced);
    let referrers: Vec<String> = problem.referrers.iter().map(ToString::to_string).collect();
    assert_eq!(referrers, ["routes/users"]);
    server.get("/v1/clusters/a").await.ok();
}

#[tokio::test]
async fn a_dry_run_answers_as_the_write_would_and_stores_nothing() {
    let server = Server::start().await.with_route().await;
    let put = server
        .put("/v1/clusters/b?dry_run=true", "{}")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(put.json()["meta"]["version"], "3");
    assert_eq!(put.header("x-fleetway-revision"), "");
    server
        .put("/v1/routes/users?dry_run=true", "{}")
        .await
        .problem(422, Code::Invalid);
    server
        .delete("/v1/clusters/a?dry_run=true")
        .await
        .problem(409, Code::StillReferenced);
    let deleted = server.delete("/v1/routes/users?dry_run=true").await.ok();
    assert_eq!(deleted.json()["dry_run"], true);
    assert_eq!(server.get("/v1/revisions").await.json()["revision"], 2);
    server
        .get("/v1/clusters/b")
        .await
        .problem(404, Code::NotFound);
    server
        .put("/v1/clusters/b?dry_run=maybe", "{}")
        .await
        .problem(400, Code::BadRequest);
}

#[tokio::test]
async fn author_and_message_are_in_the_log() {
    let server = Server::start().await;
    let author = [("x-fleetway-author", "jo@example.com")];
    let put = server
        .with(
            Method::PUT,
            "/v1/clusters/a?message=first%20one",
            &author,
            "{}",
        )
        .await;
    assert_eq!(put.json()["meta"]["updated_by"], "jo@example.com");
    let log = server.get("/v1/revisions").await.ok().json();
    assert_eq!(log["items"][0]["author"], "jo@example.com");
    assert_eq!(log["items"][0]["message"], "first one");
    let long = "x".repeat(257);
    for bad in ["", "a\tb", &long] {
        server
            .with(
                Method::PUT,
                "/v1/clusters/a",
                &[("x-fleetway-author", bad)],
                "{}",
            )
            .await
            .problem(400, Code::BadRequest);
    }
    let long = "x".repeat(4097);
    server
        .put(&format!("/v1/clusters/a?message={long}"), "{}")
        .await
        .problem(400, Code::BadRequest);
    server
        .put("/v1/clusters/a?message=%00", "{}")
        .await
        .problem(400, Code::BadRequest);
}

#[tokio::test]
async fn listeners_that_cannot_be_bound_together_are_refused_by_both_names() {
    let server = Server::start().await;
    let both = |one: &str, two: &str| {
        serde_json::json!({"operations": [
            {"put": {"kind": "Listener", "name": "p1", "address": one, "http": {}}},
            {"put": {"kind": "Listener", "name": "p2", "address": two, "http": {}}},
        ]})
        .to_string()
    };
    for (one, two) in [
        ("127.0.0.1:21600", "0.0.0.0:21600"),
        ("[::]:21601", "127.0.0.1:21601"),
    ] {
        let answer = server.post("/v1/transactions", &both(one, two)).await;
        let faults = answer.faults(422, Code::Invalid);
        assert_eq!(
            faults,
            [format!(
                "listeners/p2: address: {two} cannot be bound beside {one} of listeners/p1 in the same fleet: choose another port or keep their `fleets` apart"
            )]
        );
    }
    let free = both("127.0.0.1:0", "0.0.0.0:0");
    server.post("/v1/transactions", &free).await.ok();
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_ask() {
    let server = Server::start().await;
    let ask = |origin: &str| {
        let ask = server.request(Method::POST, "/v1/transactions?dry_run=true");
        support::send(ask.header("origin", origin).body("{\"operations\": []}"))
    };
    for origin in ["http://evil", "http://evil.example:7080", "null"] {
        let refused = ask(origin).await;
        let problem = refused.problem(403, Code::CrossOrigin);
        assert!(problem.detail.contains("`origin`"), "{problem:?}");
    }
    let base = server.base().to_owned();
    ask(&base).await.ok();
    ask(&base.replace("127.0.0.1", "localhost")).await.ok();
}
