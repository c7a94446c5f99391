//! What a stage changes.

use std::time::Duration;

use fleetway_policy_runtime::{Buffered, Retries, Stage};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Probe, stage::Given};

const BEFORE: [(&str, &str); 4] = [
    ("x-many", "b"),
    ("x-gone", "1"),
    ("x-gone", "2"),
    ("x-many", "a"),
];

/// These actions, on other fields than the stage's own.
fn on(of: &str, mut actions: Value) -> Value {
    for action in actions.as_array_mut().unwrap() {
        for (_, fields) in action.as_object_mut().unwrap() {
            fields["of"] = json!(of);
        }
    }
    actions
}

fn values<'a>(fields: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    let values = fields.get_all(name).iter();
    values.map(HeaderValue::as_bytes).collect()
}

fn fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in BEFORE {
        fields.append(name, HeaderValue::from_static(value));
    }
    fields
}

pub async fn fields_are_changed_wherever_there_are_some(probe: &Probe) {
    let actions = json!([
        {"get_header": {"name": "x-many"}},
        {"get_all_header": {"name": "X-Many"}},
        {"get_header": {"name": "x-none"}},
        {"get_all_header": {"name": "x-none"}},
        {"set_header": {"name": "X-One", "value": "1"}},
        {"set_header": {"name": "x-empty", "value": ""}},
        {"set_all_header": {"name": "x-many", "values": ["d", "c"]}},
        {"append_header": {"name": "x-many", "value": "e"}},
        {"get_all_header": {"name": "x-many"}},
        {"delete_header": {"name": "x-gone"}},
        {"get_all_header": {"name": "x-gone"}},
        {"delete_header": {"name": "x-none"}},
        {"set_header_bytes": {"name": "x-raw", "value": [99, 233]}},
        {"get_header": {"name": "x-raw"}},
    ]);
    let results = json!([
        "b",
        ["b", "a"],
        null,
        [],
        "ok",
        "ok",
        "ok",
        "ok",
        ["d", "c", "e"],
        "ok",
        [],
        "ok",
        "ok",
        null,
    ]);
    for (stage, of) in [
        (Stage::PreRoute, "stage"),
        (Stage::PreRoute, "request"),
        (Stage::PreUpstream, "stage"),
        (Stage::PreUpstream, "trailers"),
        (Stage::PostResponse, "stage"),
        (Stage::PostResponse, "trailers"),
    ] {
        let mut given = Given::any();
        given.subject.request.headers = fields();
        given.response.headers = fields();
        given.body = Some(Buffered {
            trailers: Some(fields()),
            ..Buffered::default()
        });
        let (report, became) = probe.reports(stage, on(of, actions.clone()), given).await;
        assert_eq!(report["results"], results, "{of} of {stage}");
        let trailers = became.body.as_ref().and_then(|body| body.trailers.as_ref());
        let (changed, kept) = match of {
            "trailers" => (trailers.unwrap(), Some(became.fields())),
            _ => (became.fields(), trailers),
        };
        assert_eq!(values(changed, "x-one"), [b"1"], "{of} of {stage}");
        assert_eq!(values(changed, "x-empty"), [b""]);
        assert_eq!(values(changed, "x-many"), [b"d", b"c", b"e"]);
        assert_eq!(values(changed, "x-raw"), [b"c\xe9"]);
        assert_eq!(changed.len(), 6, "{changed:?}");
        assert!(
            kept.is_none_or(|kept| *kept == fields()),
            "{of} of {stage}: {kept:?}"
        );
    }
}

pub async fn what_is_not_a_policys_to_set_is_refused(probe: &Probe) {
    let set = |name: &str, value: &str| json!({"set_header": {"name": name, "value": value}});
    let mut cases = vec![
        (set("a b", "1"), "invalid"),
        (set("", "1"), "invalid"),
        (set("x-a", "a\nb"), "invalid"),
        (set("x-a", " a"), "invalid"),
        (set("x-a", &"a".repeat(60_001)), "too-large"),
        (
            json!({"set_all_header": {"name": "x-a", "values": vec!["a"; 101]}}),
            "too-large",
        ),
    ];
    for name in [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "Upgrade",
        "x-request-id",
    ] {
        cases.push((set(name, "1"), "forbidden"));
        let append = json!({"append_header": {"name": name, "value": "1"}});
        cases.push((append, "forbidden"));
        let delete = json!({"delete_header": {"name": name}});
        cases.push((delete, "forbidden"));
    }
    let (actions, results): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    for stage in Stage::ALL {
        let mut given = Given::any();
        given.subject.request.headers = fields();
        given.response.headers = fields();
        let (report, became) = probe.reports(stage, json!(actions), given).await;
        assert_eq!(report["results"], json!(results), "{stage}");
        assert_eq!(*became.fields(), fields(), "{stage}");
    }
}

pub async fn a_request_that_was_sent_is_read_only(probe: &Probe) {
    let actions = json!([
        {"set_header": {"name": "x-a", "value": "1", "of": "request"}},
        {"append_header": {"name": "x-a", "value": "1", "of": "request"}},
        {"set_all_header": {"name": "x-a", "values": ["1"], "of": "request"}},
        {"delete_header": {"name": "x-many", "of": "request"}},
        {"set_method": {"method": "PUT"}},
        {"set_authority": {"authority": "example.com"}},
        {"set_path": {"path": "/b"}},
        {"set_query": {"query": "c"}},
        {"set_query": {"query": null}},
    ]);
    let mut given = Given::of(Request::get("/a?b"));
    given.subject.request.headers = fields();
    let (report, became) = probe.reports(Stage::PostResponse, actions, given).await;
    assert_eq!(report["results"], json!(vec!["read-only"; 9]));
    assert_eq!(became.subject.request.uri, "/a?b");
    assert_eq!(became.subject.request.headers, fields());
}

pub async fn method_and_target_are_changed(probe: &Probe) {
    let actions = json!([
        {"set_method": {"method": "PUT"}},
        {"set_method": {"method": "B D"}},
        {"set_method": {"method": "CONNECT"}},
        {"set_path": {"path": "/x/y"}},
        {"set_path": {"path": "x"}},
        {"set_path": {"path": "/x?y"}},
        // The rule for paths here.
        {"set_path": {"path": "/../x"}},
        {"set_query": {"query": null}},
        {"set_query": {"query": "q=1&r"}},
        {"set_query": {"query": "a b"}},
        {"set_authority": {"authority": "other.example:81"}},
        {"set_authority": {"authority": "a@b"}},
    ]);
    let results = json!([
        "ok",
        "invalid",
        "forbidden",
        "ok",
        "invalid",
        "invalid",
        "invalid",
        "ok",
        "ok",
        "invalid",
        "ok",
        "invalid",
    ]);
    for stage in [Stage::PreRoute, Stage::PreUpstream] {
        let given = Given::of(Request::get("/a?b=c").header("host", "example.com"));
        let (report, became) = probe.reports(stage, actions.clone(), given).await;
        assert_eq!(report["results"], results);
        // It sees what it has changed.
        assert_eq!(report["request"]["path"], "/x/y");
        assert_eq!(report["request"]["query"], "q=1&r");
        assert_eq!(report["request"]["authority"], "other.example:81");
        let request = &became.subject.request;
        assert_eq!(request.method, Method::PUT);
        assert_eq!(request.uri, "/x/y?q=1&r");
        assert_eq!(request.headers["host"], "other.example:81");
    }
    let given = Given::of(Request::get("/a?b=c"));
    let actions = json!([{"set_query": {"query": null}}]);
    let became = probe.does(Stage::PreRoute, actions, given).await;
    assert_eq!(became.subject.request.uri, "/a");
}

pub async fn a_status_is_changed(probe: &Probe) {
    let set = |status: u16| json!({"set_status": {"status": status}});
    let actions = [503, 0, 199, 204, 205, 304, 600, 65535].map(set);
    let (report, became) = probe
        .reports(Stage::PostResponse, json!(actions), Given::any())
        .await;
    let mut results = vec!["invalid"; 8];
    results[0] = "ok";
    assert_eq!(report["results"], json!(results));
    let status = became.response.unwrap().status;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

pub async fn an_upstream_is_changed(probe: &Probe) {
    let actions = json!([
        {"set_upstream_authority": {"authority": "inner.example"}},
        {"set_upstream_authority": {"authority": "a b"}},
        {"set_timeout": {"milliseconds": 1500}},
    ]);
    let mut given = Given::any();
    given.upstream.authority = "outer.example".into();
    let (report, became) = probe
        .reports(Stage::PreUpstream, actions.clone(), given)
        .await;
    assert_eq!(report["results"], json!(["ok", "invalid", "ok"]));
    assert_eq!(report["upstream"]["authority"], "inner.example");
    let upstream = became.upstream.unwrap();
    assert_eq!(upstream.set_authority.unwrap(), "inner.example");
    assert_eq!(upstream.set_timeout, Some(Duration::from_millis(1500)));
    // No other stage has one.
    for stage in [Stage::PreRoute, Stage::PostResponse] {
        let (report, _) = probe.reports(stage, actions.clone(), Given::any()).await;
        assert_eq!(report["results"], json!(vec!["nothing to act on"; 3]));
    }
}

pub async fn a_request_is_sent_again(probe: &Probe) {
    let set = |count: u32, on: &[&str]| json!({"set_retries": {"count": count, "on": on}});
    let on = |count, connect_failure, reset, gateway_error| {
        Some(Retries {
            count,
            connect_failure,
            reset,
            gateway_error,
        })
    };
    let all = ["connect-failure", "reset", "gateway-error"];
    for (actions, set_retries) in [
        (json!([set(1, &all[..1])]), on(1, true, false, false)),
        (json!([set(2, &all[1..2])]), on(2, false, true, false)),
        (json!([set(3, &all[2..])]), on(3, false, false, true)),
        (json!([set(10, &all)]), on(10, true, true, true)),
        (json!([set(11, &all)]), on(10, true, true, true)),
        (json!([set(u32::MAX, &all[1..])]), on(10, false, true, true)),
        (json!([set(0, &all)]), None),
        // The last word counts.
        (
            json!([set(5, &all), set(2, &all[1..2])]),
            on(2, false, true, false),
        ),
        (json!([set(5, &all), set(0, &all)]), None),
    ] {
        let results = json!(vec!["ok"; actions.as_array().unwrap().len()]);
        let (report, became) = probe
            .reports(Stage::PreUpstream, actions.clone(), Given::any())
            .await;
        assert_eq!(report["results"], results, "{actions}");
        let upstream = became.upstream.unwrap();
        assert_eq!(upstream.set_retries, set_retries, "{actions}");
    }
    // No other stage has an upstream.
    for stage in [Stage::PreRoute, Stage::PostResponse] {
        let actions = json!([set(1, &all)]);
        let (report, _) = probe.reports(stage, actions, Given::any()).await;
        assert_eq!(report["results"], json!(["nothing to act on"]), "{stage}");
    }
}
