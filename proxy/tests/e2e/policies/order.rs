//! Several policies: their order, their answers, and what they tell each other.

use serde_json::{Value, json};

use super::{ALL, Fleet, at, get};
use crate::support::eventually;

/// The policies of the listener and of the route, two each, each at all stages.
async fn four(fleet: &Fleet) -> String {
    let names = ["l1", "l2", "r1", "r2"];
    let policies = names.map(|name| fleet.told_by_fields(name));
    let both = |one: &str, two: &str| -> Value {
        let each = ALL.map(|stage| [at(one, &[stage]), at(two, &[stage])]);
        let each = each.into_iter().flatten();
        each.flat_map(|list| list.as_array().expect("a list").clone())
            .collect()
    };
    fleet
        .commit(both("l1", "l2"), both("r1", "r2"), &policies)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_run_in_their_order_with_those_of_the_listener_around_those_of_the_route() {
    let fleet = Fleet::start().await;
    let url = four(&fleet).await;
    let mut fields = Vec::new();
    for name in ["l1", "l2", "r1", "r2"] {
        for stage in ["route", "upstream", "response"] {
            let append =
                json!([{"append_header": {"name": "x-order", "value": format!("{name}-{stage}")}}]);
            fields.push((format!("x-{name}-{stage}"), append));
        }
    }
    let fields: Vec<(&str, Value)> = fields
        .iter()
        .map(|(name, value)| (&**name, value.clone()))
        .collect();
    let answer = get(&url, &fields).await;
    assert_eq!(
        answer.sent("x-order"),
        [
            "l1-route",
            "l2-route",
            "r1-route",
            "r2-route",
            "l1-upstream",
            "l2-upstream",
            "r1-upstream",
            "r2-upstream",
        ]
    );
    assert_eq!(
        answer.values("x-order"),
        ["r1-response", "r2-response", "l1-response", "l2-response"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_ends_the_way_of_a_request_at_every_stage() {
    let fleet = Fleet::start().await;
    let url = four(&fleet).await;
    let respond = |body: &str| json!([{"respond": {"status": 403, "headers": [["x-by", "policy"], ["connection", "close"]], "body": body}}]);
    let trap = json!([{"trap": {}}]);
    let seen = json!([{"append_header": {"name": "x-seen", "value": "1"}}]);
    for (stage, later) in [
        ("x-l2-route", ["x-r1-route", "x-r1-upstream"]),
        ("x-r1-route", ["x-r2-route", "x-l1-upstream"]),
        ("x-l1-upstream", ["x-l2-upstream", "x-r1-upstream"]),
        ("x-r2-upstream", ["x-none", "x-none"]),
    ] {
        let fields = [
            (stage, respond("no")),
            (later[0], trap.clone()),
            (later[1], trap.clone()),
            ("x-r1-response", seen.clone()),
        ];
        let answer = get(&url, &fields).await;
        assert_eq!((answer.status, &*answer.text), (403, "no"), "{stage}");
        assert_eq!(answer.values("x-by"), ["policy"]);
        assert_eq!(answer.values("connection"), [""; 0]);
        // What looks at responses sees this one; that of the route once there is a route.
        let expected: &[&str] = if stage == "x-l2-route" { &[] } else { &["1"] };
        assert_eq!(answer.values("x-seen"), expected, "{stage}");
    }
    // It is known which route had it.
    let report = json!([{"report": {"to": "header"}}]);
    let fields = [("x-r1-upstream", respond("no")), ("x-l1-response", report)];
    let answer = get(&url, &fields).await;
    let told = answer.json("x-probe-post-response");
    assert_eq!(
        (&told["exchange"]["route"], &told["exchange"]["cluster"]),
        (&json!("all"), &Value::Null)
    );
    assert!(told["exchange"]["duration"].as_u64() > Some(0), "{told}");
    let bodiless = json!([{"respond": {"status": 205, "body": "xyz"}}]);
    let answer = get(&url, &[("x-r1-route", bodiless)]).await;
    assert_eq!((answer.status, &*answer.text), (205, ""));
    let fields = [
        ("x-r1-response", respond("instead")),
        ("x-l1-response", seen),
    ];
    let answer = get(&url, &fields).await;
    assert_eq!((answer.status, &*answer.text), (403, "instead"));
    assert_eq!(answer.values("x-upstream"), [""; 0]);
    assert_eq!(answer.values("x-seen"), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_go_with_a_request_and_each_policy_writes_its_own() {
    let fleet = Fleet::start().await;
    let url = four(&fleet).await;
    let note = |value: &str| json!([{"metadata_set": {"key": "k", "value": value}}]);
    let read = json!([
        {"metadata_get": {"policy": "l1", "key": "k"}},
        {"metadata_get": {"policy": "r1", "key": "k"}},
        {"metadata_get": {"policy": "r1", "key": "other"}},
        {"report": {"to": "header"}},
    ]);
    let fields = [
        ("x-l1-route", note("from the listener")),
        ("x-r1-upstream", note("from the route")),
        ("x-l2-response", read),
    ];
    let answer = get(&url, &fields).await;
    let results = answer.json("x-probe-post-response")["results"].clone();
    assert_eq!(
        results,
        json!(["from the listener", "from the route", null])
    );
    // The next request has none of them.
    let read =
        json!([{"metadata_get": {"policy": "l1", "key": "k"}}, {"report": {"to": "header"}}]);
    let answer = get(&url, &[("x-l2-response", read)]).await;
    assert_eq!(
        answer.json("x-probe-post-response")["results"],
        json!([null])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_policies_keep_lasts_from_request_to_request() {
    let fleet = Fleet::start().await;
    let url = four(&fleet).await;
    let results = async |name: &str, actions: Value| {
        let mut actions = actions.as_array().expect("a list").clone();
        actions.push(json!({"report": {"to": "answer"}}));
        let answer = get(&url, &[(name, json!(actions))]).await;
        let seen: Value = serde_json::from_str(&answer.text).expect("JSON");
        seen["results"].clone()
    };
    let set = results(
        "x-l1-route",
        json!([{"key_value_set": {"key": "k", "value": "1"}}]),
    )
    .await;
    assert!(!set[0].is_null(), "{set}");
    let get = json!([{"key_value_get": {"key": "k"}}]);
    let kept = results("x-l1-upstream", get.clone()).await;
    assert!(kept[0].to_string().contains('1'), "{kept}");
    assert_eq!(results("x-l2-route", get.clone()).await, json!([null]));
    let lost = json!([{"key_value_compare_and_set": {"key": "k", "expected": null, "value": "2"}}]);
    let lost = results("x-l1-route", lost).await;
    assert!(lost[0].to_string().contains("changed"), "{lost}");
    // It lasts over a change of the configuration.
    let changed = fleet.policy("other", json!({}));
    fleet.server.client().commit_live(&[changed], 1).await;
    assert_eq!(results("x-l1-route", get).await, kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_add_to_the_access_log() {
    let fleet = Fleet::start().await;
    four(&fleet).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("access.log");
    let web = json!({
        "kind": "Listener", "name": "logged", "address": "127.0.0.1:0",
        "access_log": {"path": path.display().to_string()}, "http": {"policies": at("l1", &ALL)},
    });
    fleet.server.client().commit_live(&[web], 1).await;
    let url = format!("http://{}", fleet.proxy.listener("logged").await);
    let note = |value: &str| json!([{"annotate": {"key": "who", "value": value}}]);
    get(
        &url,
        &[
            ("x-l1-route", note("alice")),
            ("x-r1-response", note("\"bob\"")),
        ],
    )
    .await;
    let line = eventually("a line", async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().next().map(str::to_owned)
    })
    .await;
    assert_eq!(line.matches("\"route\":").count(), 1, "{line}");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        line["policies"],
        json!({"l1.who": "alice", "r1.who": "\"bob\""}),
        "{line}"
    );
}
