//! Where policies send requests.

use serde_json::{Value, json};

use super::{ALL, Fleet, at, get};
use crate::support::{Upstream, documents};

/// A route of a path to an upstream that says its name.
fn route(name: &str, prefix: &str) -> Value {
    documents::forward(name, prefix, name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_choose_route_and_cluster() {
    let fleet = Fleet::start().await;
    let (one, two) = (Upstream::named("one").await, Upstream::named("two").await);
    let mut tagged = documents::forward("tagged", "/", "two");
    tagged["match"]["tags"] = json!({"cohort": "canary"});
    let elsewhere = json!({
        "kind": "Route", "name": "elsewhere", "listeners": ["other"],
        "match": {"path": {"prefix": "/elsewhere"}}, "respond": {"status": 200},
    });
    let others = [
        fleet.told_by_fields("l"),
        fleet.told_by_fields("r"),
        documents::cluster("one", one.address),
        documents::cluster("two", two.address),
        route("one", "/one"),
        route("two", "/two"),
        tagged,
        documents::listener("other"),
        elsewhere,
    ];
    let url = fleet.commit(at("l", &ALL), at("r", &ALL), &others).await;
    let reroute = |hint: Value| json!([{"reroute": hint}]);
    let tags = json!({"tags": [["cohort", "canary"]]});
    for stage in ["x-l-route", "x-r-route", "x-l-upstream", "x-r-upstream"] {
        for (hint, expected) in [
            (json!({"route": "one"}), (200, "one")),
            (json!({"cluster": "two"}), (200, "two")),
            (json!({"route": "one", "cluster": "two"}), (200, "two")),
            (tags.clone(), (200, "two")),
            (
                json!({"route": "missing"}),
                (500, "a policy chose a route that is not there\n"),
            ),
            (
                json!({"route": "elsewhere"}),
                (500, "a policy chose a route that is not there\n"),
            ),
            (
                json!({"cluster": "missing"}),
                (500, "a policy chose a cluster that is not there\n"),
            ),
        ] {
            let answer = get(&url, &[(stage, reroute(hint.clone()))]).await;
            assert_eq!((answer.status, &*answer.text), expected, "{stage} {hint}");
        }
    }
    // A path that is changed before the match chooses another route, too.
    for stage in ["x-l-route", "x-r-route"] {
        let path = json!([{"set_path": {"path": "/one/x"}}]);
        assert_eq!(get(&url, &[(stage, path)]).await.text, "one");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_routed_anew_once_and_passes_the_policies_of_where_it_goes() {
    let fleet = Fleet::start().await;
    let (one, two) = (Upstream::named("one").await, Upstream::named("two").await);
    let to = |route: &str| json!([{"reroute": {"route": route}}]);
    // Each of these sends the request on to the other.
    let ping = fleet.policy(
        "ping",
        json!({"pre_route": to("pong"), "pre_upstream": to("pong")}),
    );
    let pong = fleet.policy(
        "pong",
        json!({"pre_route": to("ping"), "pre_upstream": to("ping")}),
    );
    let guard = fleet.policy(
        "guard",
        json!({"pre_route": [{"respond": {"status": 401}}]}),
    );
    let guarded = fleet.told_by_fields("r");
    let mut documents = vec![
        ping,
        pong,
        guard,
        guarded,
        documents::cluster("one", one.address),
        documents::cluster("two", two.address),
    ];
    for (name, cluster, policy) in [("ping", "one", "ping"), ("pong", "two", "pong")] {
        let mut route = documents::forward(name, &format!("/{name}"), cluster);
        route["policies"] = at(policy, &["PRE_ROUTE"]);
        documents.push(route);
    }
    let mut secret = documents::forward("secret", "/secret", "one");
    secret["policies"] = at("guard", &["PRE_ROUTE"]);
    documents.push(secret);
    let url = fleet.commit(json!([]), at("r", &ALL), &documents).await;
    assert_eq!(get(&format!("{url}/ping"), &[]).await.text, "two");
    assert_eq!(get(&format!("{url}/pong"), &[]).await.text, "one");
    // No way around the policies of a route: not by a path, not by name, not at a later stage.
    for actions in [json!([{"set_path": {"path": "/secret"}}]), to("secret")] {
        assert_eq!(get(&url, &[("x-r-route", actions)]).await.status, 401);
    }
    assert_eq!(
        get(&url, &[("x-r-upstream", to("secret"))]).await.status,
        401
    );
}
