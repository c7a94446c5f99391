use fleetway_policy::prelude::*;
use fleetway_policy::testing::{self, Proxy};
use serde_json::Value;

use super::Probe;

fn answer(decision: Decision) -> Value {
    match decision {
        Decision::Respond(answer) => serde_json::from_slice(&answer.body).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_report_holds_what_the_stage_sees_and_what_was_done() {
    let mut probe: Probe = testing::policy(
        r#"{"pre_route":[
            {"set_header":{"name":"x-a","value":"1"}}, {"set_header":{"name":"host","value":"1"}},
            {"get_all_header":{"name":"x-a"}}, {"set_status":{"status":200}},
            {"when":{"header":"x-b","then":[{"set_path":{"path":"/no"}}]}},
            {"metadata_set":{"key":"k","value":"v"}}, {"metadata_get":{"policy":"self","key":"k"}},
            {"report":{"to":"answer"}}]}"#,
    )
    .unwrap();
    let request = testing::request("GET", "/a?b=c").id("7");
    let report = answer(probe.pre_route(&request.view()).unwrap());
    assert_eq!(report["stage"], "pre-route");
    assert_eq!(report["request"]["id"], "7");
    assert_eq!(report["request"]["query"], "b=c");
    assert_eq!(report["request"]["client"]["protocol"], "http11");
    let results = serde_json::json!(["ok", "forbidden", ["1"], "nothing to act on", true, "v"]);
    assert_eq!(report["results"], results);
}

#[test]
fn a_request_can_say_what_is_to_be_done() {
    let mut probe: Probe =
        testing::policy(r#"{"pre_upstream":[{"from_header":{"name":"x-do"}}]}"#).unwrap();
    let request = testing::request("GET", "/").header(
        "x-do",
        r#"[{"upper_body":{}},{"set_timeout":{"milliseconds":5}},{"report":{"to":"log"}}]"#,
    );
    let (upstream, body) = (
        testing::upstream("r", "c", "/x").label("a", "b"),
        testing::buffer("abc"),
    );
    let decision = probe.pre_upstream(&request.view(), &upstream.view(), Some(body.view()));
    assert_eq!(decision.unwrap(), Decision::Continue);
    assert_eq!(body.view().bytes(), b"ABC");
    assert_eq!(upstream.timeout().unwrap().as_millis(), 5);
    let report: Value = serde_json::from_str(&Proxy::log()[0].1).unwrap();
    assert_eq!(
        report["upstream"]["labels"],
        serde_json::json!([["a", "b"]])
    );
    assert_eq!(report["body"]["text"], "ABC");
}

#[test]
fn bodies_are_changed_as_they_pass() {
    let mut probe: Probe = testing::policy(
        r#"{"response_body":[{"write":{"text":"<"}},{"pass_chunks":{"count":1}},{"upper":{}},{"report":{}}]}"#,
    )
    .unwrap();
    let out = testing::transform(["a", "b", "c"], |body, out| probe.response_body(body, out));
    let out = String::from_utf8(out.unwrap()).unwrap();
    assert!(
        out.starts_with(r#"<aBC{"bytes":3,"calls":1,"chunks":3,"#),
        "{out}"
    );
}

#[test]
fn a_wrong_action_is_pointed_at() {
    let at = |json| {
        testing::policy::<Probe>(json).err().unwrap()[0]
            .path
            .clone()
    };
    assert_eq!(
        at(r#"{"pre_route":[{"trap":{}},{"set_status":{"status":"x"}}]}"#),
        "/pre_route/1/set_status/status"
    );
    assert_eq!(at(r#"{"refuse":"no"}"#), "/refuse");
}
