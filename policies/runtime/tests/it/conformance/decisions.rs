//! What a stage decides.

use fleetway_policy_runtime::{Decision, Failure, Hint, Stage};
use http::StatusCode;
use serde_json::json;

use super::{Probe, stage::Given};

pub async fn an_answer_is_given_at_each_stage(probe: &Probe) {
    let actions = json!([{"respond": {
        "status": 429,
        "headers": [
            ["retry-after", "5"],
            ["set-cookie", "b=1"],
            ["set-cookie", "a=2"],
            ["content-length", "7"],
            ["x-request-id", "1"],
        ],
        "body": "caf\u{e9}",
    }}]);
    for stage in Stage::ALL {
        let became = probe.does(stage, actions.clone(), Given::any()).await;
        let Ok(Decision::Respond(answer)) = became.went else {
            panic!("{stage}: {:?}", became.went);
        };
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.body, "caf\u{e9}");
        let headers = &answer.headers;
        assert_eq!(headers["retry-after"], "5");
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["b=1", "a=2"], "{stage}");
        // The others are the proxy's own to set.
        assert_eq!(headers.len(), 3, "{stage}: {headers:?}");
    }
    let bare = json!([{"respond": {"status": 204}}]);
    for stage in Stage::ALL {
        let became = probe.does(stage, bare.clone(), Given::any()).await;
        let Ok(Decision::Respond(answer)) = became.went else {
            panic!("{stage}: {:?}", became.went);
        };
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(answer.headers.is_empty() && answer.body.is_empty());
    }
}

pub async fn an_answer_out_of_bounds_is_none(probe: &Probe) {
    let fields: Vec<_> = (0..101).map(|i| (format!("x-{i}"), "")).collect();
    let cases = [
        json!({"status": 199}),
        json!({"status": 600}),
        json!({"status": 200, "headers": [["a b", "1"]]}),
        json!({"status": 200, "headers": [["x-a", "a\nb"]]}),
        json!({"status": 200, "headers": fields}),
        json!({"status": 200, "body": "a".repeat((1 << 20) + 1)}),
    ];
    for answer in cases {
        for stage in [Stage::PreRoute, Stage::PostResponse] {
            let actions = json!([{"respond": answer}]);
            let became = probe.does(stage, actions, Given::any()).await;
            let went = became.went;
            assert!(matches!(went, Err(Failure::Answer(_))), "{stage}: {went:?}");
        }
    }
}

pub async fn nothing_is_done_behind_an_answer(probe: &Probe) {
    let actions = json!([
        {"set_header": {"name": "x-before", "value": "1"}},
        {"when": {"header": "x-none", "then": [{"trap": {}}]}},
        {"when": {"header": "x-some", "is": "no", "then": [{"trap": {}}]}},
        {"when": {"header": "x-some", "is": "yes", "then": [{"respond": {"status": 200}}]}},
        {"set_header": {"name": "x-behind", "value": "1"}},
    ]);
    for stage in Stage::ALL {
        let mut given = Given::any();
        let some = http::HeaderValue::from_static("yes");
        given.subject.request.headers.insert("x-some", some);
        let became = probe.does(stage, actions.clone(), given).await;
        assert!(matches!(became.went, Ok(Decision::Respond(_))), "{stage}");
        assert!(became.fields().contains_key("x-before"), "{stage}");
        assert!(!became.fields().contains_key("x-behind"), "{stage}");
    }
}

pub async fn a_hint_is_given_before_the_upstream(probe: &Probe) {
    let hint = json!({"route": "r", "cluster": "c", "tags": [["b", "1"], ["a", "2"]]});
    let full = Hint {
        route: Some("r".into()),
        cluster: Some("c".into()),
        tags: vec![("b".into(), "1".into()), ("a".into(), "2".into())],
    };
    for stage in [Stage::PreRoute, Stage::PreUpstream] {
        for (hint, expected) in [(&hint, full.clone()), (&json!({}), Hint::default())] {
            let actions = json!([{"reroute": hint}]);
            let became = probe.does(stage, actions, Given::any()).await;
            assert_eq!(became.went, Ok(Decision::Reroute(expected)), "{stage}");
        }
    }
    // A response has nowhere to go: the type of the stage has no such outcome.
    let actions = json!([{"reroute": hint}]);
    let became = probe.does(Stage::PostResponse, actions, Given::any()).await;
    assert!(became.went.is_err(), "{:?}", became.went);
}

pub async fn what_fails_ends_the_call(probe: &Probe) {
    let failing = [
        json!({"trap": {}}),
        json!({"fail": {"message": "no"}}),
        json!({"from_header": {"name": "x-broken"}}),
    ];
    for action in failing {
        for stage in Stage::ALL {
            let mut given = Given::any();
            let broken = http::HeaderValue::from_static("[");
            given.subject.request.headers.insert("x-broken", broken);
            let actions = json!([action]);
            let became = probe.does(stage, actions, given).await;
            let failure = became.went.expect_err("it fails");
            assert_eq!(failure.cause(), "trap", "{action} at {stage}: {failure}");
        }
    }
    // The next call is as if nothing had been.
    for stage in Stage::ALL {
        let became = probe.does(stage, json!([]), Given::any()).await;
        assert_eq!(became.went, Ok(Decision::Continue), "{stage}");
    }
}
