//! Configurations, and what is wrong with them.

use fleetway_policy_runtime::Stage;
use http::Request;
use serde_json::{Value, json};

use super::{Probe, stage::Given};
use crate::support::PATIENT;

pub async fn what_is_wrong_is_pointed_at(probe: &Probe) {
    let with = |action: Value| json!({"pre_route": [{"trap": {}}, action]});
    let cases = [
        (json!([]), Some("")),
        (json!({"refuse": "not today"}), Some("/refuse")),
        (json!({"no_such": 1}), Some("/no_such")),
        (json!({"a~b/c": 1}), Some("/a~0b~1c")),
        (json!({"pre_upstream": {}}), Some("/pre_upstream")),
        (json!({"post_response": [7]}), Some("/post_response/0")),
        (
            with(json!({"set_status": {"status": "x"}})),
            Some("/pre_route/1/set_status/status"),
        ),
        (
            with(json!({"set_status": {"status": 65_536}})),
            Some("/pre_route/1/set_status/status"),
        ),
        (
            with(json!({"set_path": {"path": "/", "no_such": 1}})),
            Some("/pre_route/1/set_path/no_such"),
        ),
        (with(json!({"set_path": {}})), Some("/pre_route/1/set_path")),
        (
            with(json!({"set_all_header": {"name": "x-a", "values": ["a", 7]}})),
            Some("/pre_route/1/set_all_header/values/1"),
        ),
        (
            with(json!({"when": {"header": "a", "then": [{"log": {"level": 1, "message": ""}}]}})),
            Some("/pre_route/1/when/then/0/log/level"),
        ),
        (
            json!({"response_body": [{"write": {"text": null}}]}),
            Some("/response_body/0/write/text"),
        ),
        (
            with(json!({"reroute": {"tags": [["a", "1"], ["b"]]}})),
            Some("/pre_route/1/reroute/tags/1"),
        ),
        (
            with(json!({"set_retries": {"count": 1, "on": ["reset", 7]}})),
            Some("/pre_route/1/set_retries/on/1"),
        ),
        (
            with(json!({"http": {"cluster": "a", "path": "/", "headers": [["a"]]}})),
            Some("/pre_route/1/http/headers/0"),
        ),
        (
            json!({"request_body": [{"write_http": {"cluster": "a"}}]}),
            Some("/request_body/0/write_http"),
        ),
        (json!({}), None),
        (with(json!({"set_query": {"query": null}})), None),
        (
            json!({"request_body": [{"write": {"text": "a"}}], "refuse": null}),
            None,
        ),
    ];
    assert!(probe.0.description().validates);
    for (config, path) in cases {
        let tried = probe.0.try_out("p", &config.to_string(), PATIENT).await;
        let faults = tried.expect("it starts");
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, Vec::from_iter(path), "{config}: {faults:?}");
        assert!(
            faults.iter().all(|fault| !fault.message.is_empty()),
            "{faults:?}"
        );
    }
    let faults = probe
        .0
        .try_out("p", r#"{"refuse":"not today"}"#, PATIENT)
        .await;
    assert_eq!(faults.unwrap()[0].message, "not today");
}

pub async fn a_configuration_arrives_as_it_is(probe: &Probe) {
    let text = "caf\u{e9} \u{1f600} \" \\ \t / ~";
    let actions =
        json!([{"from_header": {"name": "x-do"}}, {"metadata_set": {"key": "k", "value": text}}]);
    let told = r#"[{"metadata_set":{"key":"told","value":"1"}}]"#;
    for stage in Stage::ALL {
        let given = Given::of(Request::get("/").header("x-do", told));
        let became = probe.does(stage, actions.clone(), given).await;
        let note = |key: &str, value: &str| ("probe".to_owned(), key.to_owned(), value.into());
        let expected = [note("told", "1"), note("k", text)];
        assert_eq!(became.subject.notebook.notes(), expected, "{stage}");
    }
}
