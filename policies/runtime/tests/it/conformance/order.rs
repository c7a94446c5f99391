//! Several policies, and several calls of one.

use std::sync::Arc;

use fleetway_policy_runtime::{Decision, Stage};
use serde_json::json;

use super::{
    Probe,
    stage::{Given, run},
};

pub async fn the_second_sees_what_the_first_has_changed(probe: &Probe) {
    for stage in Stage::ALL {
        let key = super::key(stage);
        let does = |name: &str| json!([{"append_header": {"name": "x-order", "value": name}}]);
        let first = probe.unit("first", &json!({&key: does("first")}));
        let mut actions = does("second");
        let list = actions.as_array_mut().unwrap();
        list.insert(0, json!({"get_all_header": {"name": "x-order"}}));
        list.push(json!({"report": {"to": "metadata"}}));
        let second = probe.unit("second", &json!({&key: actions}));

        let became = run(&first, stage, Given::any()).await;
        assert_eq!(became.went, Ok(Decision::Continue));
        let mut given = Given::that(became.subject);
        if let Some(response) = became.response {
            given.response = *response;
        }
        let became = run(&second, stage, given).await;
        assert_eq!(became.went, Ok(Decision::Continue));
        let order: Vec<_> = became.fields().get_all("x-order").iter().collect();
        assert_eq!(order, ["first", "second"], "{stage}");
        let report = became.subject.notebook.get("second", stage.as_str());
        let report: serde_json::Value = serde_json::from_slice(&report.unwrap()).unwrap();
        assert_eq!(report["results"], json!([["first"], "ok"]), "{stage}");
    }
}

pub async fn notes_are_their_policys_own_and_read_by_all(probe: &Probe) {
    let set = |value: &str| json!({"metadata_set": {"key": "k", "value": value}});
    let get = |policy: &str| json!({"metadata_get": {"policy": policy, "key": "k"}});
    let delete = json!({"metadata_delete": {"key": "k"}});
    let report = json!({"report": {"to": "answer"}});
    let first = probe.unit(
        "first",
        &json!({
            "pre_route": [set("1"), get("first"), get("second"), report],
            "post_response": [get("first"), get("second"), delete, delete, get("first"), get("second"), report],
        }),
    );
    let second = probe.unit(
        "second",
        // It has nothing to delete yet, and cannot delete the first's.
        &json!({"pre_upstream": [delete, get("first"), set("2"), get("first"), get("second"), report]}),
    );
    let became = run(&first, Stage::PreRoute, Given::any()).await;
    assert_eq!(became.report()["results"], json!([true, "1", null]));
    let given = Given::that(became.subject);
    let became = run(&second, Stage::PreUpstream, given).await;
    let results = json!([false, "1", true, "1", "2"]);
    assert_eq!(became.report()["results"], results);
    let note = |policy: &str, value: &[u8]| (policy.to_owned(), "k".to_owned(), value.to_vec());
    let expected = [note("first", b"1"), note("second", b"2")];
    assert_eq!(became.subject.notebook.notes(), expected);
    let given = Given::that(became.subject);
    let became = run(&first, Stage::PostResponse, given).await;
    let results = json!(["1", "2", true, false, null, "2"]);
    assert_eq!(became.report()["results"], results);
    // Another request has none of them.
    let became = run(&second, Stage::PreUpstream, Given::any()).await;
    let results = json!([false, null, true, null, "2"]);
    assert_eq!(became.report()["results"], results);
}

pub async fn each_stage_has_an_instance_of_its_own(probe: &Probe) {
    let report = json!([{"report": {"to": "answer"}}]);
    let config = json!({"pre_route": report, "pre_upstream": report, "post_response": report});
    let unit = probe.unit("probe", &config);
    for stage in [Stage::ALL, Stage::ALL].as_flattened() {
        let became = run(&unit, *stage, Given::any()).await;
        assert_eq!(became.report()["calls"], 1, "{stage}");
    }
}

pub async fn shared_values_are_the_policys(probe: &Probe) {
    let report = json!({"report": {"to": "answer"}});
    let get = json!({"key_value_get": {"key": "k"}});
    let long = "k".repeat(257);
    let writes = json!([
        get,
        {"key_value_compare_and_set": {"key": "k", "expected": null, "value": "a"}},
        {"key_value_set": {"key": "k", "value": "b", "ttl": 3_600_000}},
        {"key_value_compare_and_set": {"key": "k", "expected": null, "value": "c"}},
        get,
        {"key_value_set": {"key": long, "value": "b"}},
        {"key_value_set": {"key": "other", "value": "b"}},
        {"key_value_delete": {"key": "other"}},
        {"key_value_delete": {"key": "other"}},
        report,
    ]);
    let reads = json!([get, report]);
    let config = json!({"pre_route": writes, "pre_upstream": reads});
    let unit = probe.unit("probe", &config);
    let shared = unit.shared.clone();
    let said = run(&unit, Stage::PreRoute, Given::any()).await.report();
    let results = &said["results"];
    let (first, second) = (results[1].as_u64().unwrap(), results[2].as_u64().unwrap());
    assert!(first < second, "{results}");
    assert_eq!(results[0], json!(null));
    assert_eq!(results[3], "changed");
    let kept = json!({"value": "b", "version": second});
    assert_eq!(results[4], kept);
    assert_eq!(results[5], "too-large");
    assert!(results[6].as_u64() > Some(second), "{results}");
    assert_eq!(results[7], true);
    assert_eq!(results[8], false);
    // It is there in the policy's next call, and not in another policy's.
    let said = run(&unit, Stage::PreUpstream, Given::any()).await.report();
    assert_eq!(said["results"], json!([kept]));
    let other = probe.unit("other", &config);
    let said = run(&other, Stage::PreUpstream, Given::any()).await.report();
    assert_eq!(said["results"], json!([null]));
    let change = json!({"key": "k", "expected": second, "value": "c"});
    let config = json!({"pre_route": [{"key_value_compare_and_set": change}, get, report]});
    let mut unit = probe.unit("probe", &config);
    Arc::get_mut(&mut unit).unwrap().shared = shared;
    let said = run(&unit, Stage::PreRoute, Given::any()).await.report();
    let version = said["results"][0].as_u64().unwrap();
    assert!(version > second, "{said}");
    let kept = json!({"value": "c", "version": version});
    assert_eq!(said["results"][1], kept);
}
