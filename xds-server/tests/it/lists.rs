//! Lists, the log, nodes, and what goes for every path.

use fleetway_api::rest::Code;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Server;

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn lists_come_in_pages_by_name() {
    let server = Server::start().await;
    for n in 0..5 {
        server.put(&format!("/v1/clusters/c{n}"), "{}").await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/clusters?page_size=2".to_owned();
    loop {
        let page = server.get(&path).await.ok().json();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        assert_eq!(page["revision"], 5);
        let Some(token) = page["next_page_token"].as_str() else {
            break;
        };
        assert_eq!(page["items"].as_array().unwrap().len(), 2);
        path = format!("/v1/clusters?page_size=2&page_token={token}");
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"]);
    let all = server.get("/v1/clusters?page_size=5").await.json();
    assert_eq!(all.get("next_page_token"), None);
    assert_eq!(all["items"][0]["meta"]["version"], "1");
    for bad in [
        "page_size=0",
        "page_size=1001",
        "page_size=x",
        "page_token=x",
        "page_token=",
    ] {
        let faults = server
            .get(&format!("/v1/clusters?{bad}"))
            .await
            .faults(400, Code::BadRequest);
        let key = bad.split('=').next().unwrap();
        assert!(faults[0].starts_with(&format!("{key}: ")), "{faults:?}");
    }
    let token = server.get("/v1/clusters?page_size=2").await.json()["next_page_token"].clone();
    let foreign = format!("/v1/routes?page_token={}", token.as_str().unwrap());
    server.get(&foreign).await.problem(400, Code::BadRequest);
    // `revisions/x`: a token of the list, but not one it gave.
    let faults = server.get("/v1/revisions?page_token=cmV2aXNpb25zL3g").await;
    let faults = faults.faults(400, Code::BadRequest);
    assert!(faults[0].starts_with("page_token: "), "{faults:?}");
}

#[tokio::test]
async fn lists_are_selected_by_labels_and_fleet() {
    let server = Server::start().await;
    for (name, rest) in [
        ("a", "labels: {env: prod, team: x}, fleets: [edge]"),
        ("b", "labels: {env: prod}"),
        ("c", "labels: {env: test}, fleets: [core]"),
    ] {
        server
            .put(&format!("/v1/clusters/{name}"), &format!("{{{rest}}}"))
            .await;
    }
    for (query, expected) in [
        ("label=env%3Dprod", vec!["a", "b"]),
        ("label=env=prod,team!=x", vec!["b"]),
        ("label=team", vec!["a"]),
        ("label=!team", vec!["b", "c"]),
        ("fleet=edge", vec!["a", "b"]),
        ("fleet=core&label=env=test", vec!["c"]),
        ("fleet=other", vec!["b"]),
        ("label=", vec!["a", "b", "c"]),
    ] {
        let page = server
            .get(&format!("/v1/clusters?{query}"))
            .await
            .ok()
            .json();
        assert_eq!(names(&page), expected, "{query}");
    }
    server
        .get("/v1/clusters?label=a%20b")
        .await
        .problem(400, Code::BadRequest);
    server
        .get("/v1/clusters?fleet=NO")
        .await
        .problem(400, Code::BadRequest);
}

#[tokio::test]
async fn the_log_tells_what_every_revision_changed() {
    let server = Server::start().await.with_route().await;
    server.patch("/v1/routes/users", "{priority: 1}").await;
    server.delete("/v1/routes/users").await;
    let page = server.get("/v1/revisions?page_size=3").await.ok().json();
    let numbers: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["revision"].clone())
        .collect();
    assert_eq!(numbers, [4, 3, 2]);
    let token = page["next_page_token"].as_str().unwrap();
    let rest = server
        .get(&format!("/v1/revisions?page_token={token}"))
        .await
        .ok()
        .json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest.get("next_page_token"), None);

    let updated = server.get("/v1/revisions/3").await.ok().json();
    assert_eq!(
        (&updated["revision"], &updated["changed"]),
        (&json!(3), &json!(1))
    );
    let change = &updated["changes"][0];
    assert_eq!(
        (&change["kind"], &change["name"], &change["outcome"]),
        (&json!("Route"), &json!("users"), &json!("updated"))
    );
    assert_eq!(change["before"].get("priority"), None);
    assert_eq!(change["after"]["priority"], 1);
    let deleted = server.get("/v1/revisions/4").await.ok().json();
    assert_eq!(deleted["changes"][0]["outcome"], "deleted");
    assert_eq!(deleted["changes"][0].get("after"), None);
}

#[tokio::test]
async fn old_revisions_leave_the_log_and_nothing_else_changes() {
    let mut server = Server::start_with(|config| config.keep_revisions = 2).await;
    for n in 1..=5 {
        server.put(&format!("/v1/clusters/c{n}"), "{}").await;
    }
    server.restart().await;
    let page = server.get("/v1/revisions?page_size=1").await.ok().json();
    let token = page["next_page_token"].as_str().unwrap();
    let last = format!("/v1/revisions?page_size=1&page_token={token}");
    let last = server.get(&last).await.ok().json();
    let number = |page: &Value| page["items"][0]["revision"].clone();
    assert_eq!((number(&page), number(&last)), (json!(5), json!(4)));
    assert_eq!(last.get("next_page_token"), None);

    let gone = server.get("/v1/revisions/3").await;
    let detail = gone.problem(404, Code::NotFound).detail;
    assert!(
        detail.contains("revision 3 is no longer in the log"),
        "{detail}"
    );
    assert!(detail.contains("`keep_revisions`"), "{detail}");
    for never in [0, 6] {
        let answer = server.get(&format!("/v1/revisions/{never}")).await;
        let detail = answer.problem(404, Code::NotFound).detail;
        assert_eq!(detail, format!("there is no revision {never}"));
    }
    server.get("/v1/revisions/3/status").await.ok();
    let clusters = server.get("/v1/clusters").await.json();
    assert_eq!(names(&clusters), ["c1", "c2", "c3", "c4", "c5"]);
    assert_eq!(clusters["items"][0]["meta"]["version"], "1");
    server.put("/v1/clusters/c6", "{}").await;
    assert_eq!(server.get("/v1/revisions").await.json()["revision"], 6);
}

#[tokio::test]
async fn a_committed_revision_has_a_status_and_another_has_none() {
    let server = Server::start().await.with_route().await;
    let status = server
        .get("/v1/revisions/2/status?wait=30s&nodes=95%25")
        .await
        .ok()
        .json();
    assert_eq!(
        status,
        json!({"revision": 2, "live": true, "nodes": 0, "nodes_live": 0, "waiting": [], "refused": false})
    );
    server
        .get("/v1/revisions/3/status?wait=30s")
        .await
        .problem(404, Code::NotFound);
    for bad in ["wait=6m", "wait=5", "nodes=0%25", "nodes=most", "until=now"] {
        server
            .get(&format!("/v1/revisions/2/status?{bad}"))
            .await
            .problem(400, Code::BadRequest);
    }
}

#[tokio::test]
async fn nodes_are_listed() {
    let server = Server::start().await;
    assert_eq!(
        server.get("/v1/nodes").await.ok().json(),
        json!({"items": [], "revision": 0})
    );
}

#[tokio::test]
async fn what_the_interface_does_not_have_is_answered_with_a_problem() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v1/plugins", "/v1/routes/a/b", "/v2/routes"] {
        server.get(path).await.problem(404, Code::NoSuchPath);
    }
    server
        .get("/v1/routes/%FF")
        .await
        .problem(400, Code::BadRequest);
    let answer = server.delete("/v1/routes").await;
    answer.problem(405, Code::MethodNotAllowed);
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    let answer = server.post("/v1/routes/users", "{}").await;
    answer.problem(405, Code::MethodNotAllowed);
    assert_eq!(answer.header("allow"), "GET,HEAD,PUT,PATCH,DELETE");
}

#[tokio::test]
async fn a_query_parameter_nobody_knows_is_refused_by_its_name() {
    let server = Server::start().await.with_route().await;
    for (method, path) in [
        (Method::GET, "/v1/routes"),
        (Method::GET, "/v1/routes/users"),
        (Method::PUT, "/v1/routes/users"),
        (Method::DELETE, "/v1/routes/users"),
        (Method::POST, "/v1/transactions"),
        (Method::GET, "/v1/revisions"),
        (Method::GET, "/v1/revisions/1"),
        (Method::GET, "/v1/nodes"),
        (Method::GET, "/healthz"),
        (Method::GET, "/openapi.json"),
    ] {
        let answer = server
            .with(method, &format!("{path}?dryrun=true"), &[], "{}")
            .await;
        let faults = answer.faults(400, Code::BadRequest);
        assert!(faults[0].contains("unknown field \"dryrun\""), "{faults:?}");
    }
}

#[tokio::test]
async fn the_version_of_the_server_is_told() {
    let server = Server::start().await;
    let version = server.get("/v1/version").await.ok().json();
    assert_eq!(version, json!({"version": env!("CARGO_PKG_VERSION")}));
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let server = Server::start().await.with_route().await;
    assert_eq!(server.get("/healthz").await.ok().text, "ok\n");
    assert_eq!(server.get("/readyz").await.ok().text, "ready\n");
    let metrics = server.get("/metrics").await.ok().text;
    for line in [
        "fleetway_xds_revision 2",
        "fleetway_xds_resources{kind=\"Route\"} 1",
        "fleetway_xds_commits_total 2",
        "fleetway_xds_streams 0",
        "fleetway_xds_nacks_total 0",
        "fleetway_xds_rest_requests_total{code=\"201\"} 2",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_restarted_server_has_everything_it_acknowledged() {
    let mut server = Server::start().await.with_route().await;
    let before = server.get("/v1/routes/users").await.ok().text;
    server.restart().await;
    assert_eq!(server.get("/v1/routes/users").await.ok().text, before);
    assert_eq!(
        server.get("/v1/revisions/2").await.ok().json()["changed"],
        1
    );
    let next = server.put("/v1/clusters/b", "{}").await;
    assert_eq!(next.header("x-fleetway-revision"), "3");
}

#[tokio::test]
async fn every_parameter_that_is_wrong_is_reported() {
    let server = Server::start().await.with_route().await;
    for (path, fields) in [
        (
            "/v1/routes?page_size=0&page_token=zz&label=a%20b&fleet=A",
            "page_size page_token label fleet",
        ),
        (
            "/v1/routes?page_size=x&page_token=zz",
            "page_size page_token",
        ),
        (
            "/v1/revisions?page_size=0&page_token=zz",
            "page_size page_token",
        ),
        (
            "/v1/nodes?page_size=0&page_token=zz",
            "page_size page_token",
        ),
        ("/v1/revisions/1/status?wait=x&nodes=0%25", "wait nodes"),
        (
            "/v1/routes?sort=name&size=0&page_size=0",
            "sort size page_size",
        ),
    ] {
        let problem = server.get(path).await.problem(400, Code::BadRequest);
        let found: Vec<_> = problem
            .errors
            .iter()
            .map(|error| error.field.as_str())
            .collect();
        assert_eq!(found.join(" "), fields, "{path}");
    }
}
