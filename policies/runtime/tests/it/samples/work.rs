//! What each sample is there for.

use std::{fs, sync::Arc};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine};
use fleetway_policy_runtime::{Decision, Feed, Hint, Program, Stage, Unit};
use http::{Request, Response, StatusCode, request};
use serde_json::Value;

use super::{KEY, in_rust};
use crate::{
    conformance::stage::{Became, Given, pass, run},
    support::{PATIENT, committed, program, runtime, unit_with},
};

/// A sample with its configuration, under its own name.
async fn unit(name: &str) -> Arc<Unit> {
    let program = program(name).await.unwrap();
    unit_with(program, name, &configuration(name), PATIENT)
}

fn configuration(name: &str) -> Value {
    let sample = in_rust().into_iter().find(|sample| sample.name == name);
    sample.unwrap().config
}

async fn pre_route(unit: &Arc<Unit>, request: request::Builder) -> Became {
    run(unit, Stage::PreRoute, Given::of(request)).await
}

/// The status of an answer.
fn answered(became: &Became) -> Option<StatusCode> {
    match &became.went {
        Ok(Decision::Respond(answer)) => Some(answer.status),
        _ => None,
    }
}

#[tokio::test]
async fn header_rules_change_requests_and_responses() {
    let unit = unit("header-rules").await;
    let request = Request::get("/").header("x-debug", "1");
    let became = pre_route(&unit, request).await;
    assert_eq!(became.went, Ok(Decision::Continue));
    let fields = became.fields();
    assert_eq!(fields["x-team"], "edge");
    assert!(!fields.contains_key("x-debug"));

    let mut given = Given::that(became.subject);
    let response = Response::builder().header("vary", "host").body(());
    given.response = response.unwrap().into_parts().0;
    let became = run(&unit, Stage::PostResponse, given).await;
    assert_eq!(became.went, Ok(Decision::Continue));
    let vary: Vec<_> = became.fields().get_all("vary").iter().collect();
    assert_eq!(vary, ["host", "accept"]);
    assert_eq!(became.fields()["server"], "other");
}

/// For `sub` `ann` with the roles `a` and `b`, until 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJyZWFsbSI6eyJyb2xlcyI6WyJhIiwiYiJdfSwiZXhwIjo0MTAyNDQ0ODAwfQ.CNd54MJoiJ6Z_0nftjutkdmv_dxFk6uo4fnwxHovzd8";

#[tokio::test]
async fn jwt_claims_go_into_fields() {
    let unit = unit("jwt-claims-to-headers").await;
    let with = |token: &str| {
        Request::get("/")
            .header("x-user", "mallory")
            .header("authorization", format!("Bearer {token}"))
    };
    let became = pre_route(&unit, with(TOKEN)).await;
    assert_eq!(became.went, Ok(Decision::Continue));
    assert_eq!(became.fields()["x-user"], "ann");
    assert_eq!(became.fields()["x-roles"], "a,b");
    let other = TOKEN.replace("CNd5", "CNd6");
    for request in [with(&other), Request::get("/")] {
        let became = pre_route(&unit, request).await;
        assert_eq!(answered(&became), Some(StatusCode::UNAUTHORIZED));
    }
}

#[tokio::test]
async fn geo_route_tags_requests_by_their_network() {
    let unit = unit("geo-route").await;
    for (address, region) in [
        ("192.0.2.7:1", "inside"),
        ("192.0.3.7:1", "around"),
        ("[2001:db8::1]:1", "rest"),
    ] {
        let mut given = Given::any();
        let facts = Arc::get_mut(&mut given.subject.facts).unwrap();
        Arc::get_mut(&mut facts.client).unwrap().address = address.parse().unwrap();
        let became = run(&unit, Stage::PreRoute, given).await;
        let hint = Hint {
            tags: vec![("region".into(), region.into())],
            ..Hint::default()
        };
        assert_eq!(became.went, Ok(Decision::Reroute(hint)), "{address}");
    }
}

#[tokio::test]
async fn coraza_lite_refuses_what_scores_too_much() {
    refuses_what_scores_too_much(unit("coraza-lite").await).await;
}

/// As rustup's target wasm32-wasip2 makes it: it asks for randomness of a WASI later than 0.2.0.
#[tokio::test]
async fn what_is_built_for_wasi_works_as_well() {
    let wasm = fs::read(committed().join("wasip2/coraza-lite.wasm")).expect("a component");
    let program = Program::compile(runtime(), &wasm).expect("a policy");
    let imports = &program.description().imports;
    let random = "wasi:random/random@0.2.6".to_owned();
    assert!(imports.contains(&random), "{imports:?}");
    let config = configuration("coraza-lite");
    let unit = unit_with(program, "coraza-lite", &config, PATIENT);
    refuses_what_scores_too_much(unit).await;
}

async fn refuses_what_scores_too_much(unit: Arc<Unit>) {
    let became = pre_route(&unit, Request::get("/a?q=1%20Union%20%20select%202")).await;
    assert_eq!(answered(&became), Some(StatusCode::FORBIDDEN));
    assert_eq!(became.subject.notebook.annotations()[0].value, "sqli-1");
    let became = pre_route(&unit, Request::get("/.git/config")).await;
    assert_eq!(became.went, Ok(Decision::Continue));
    let (series, _) = unit.shared.figures();
    assert!(
        series
            .iter()
            .all(|series| series.name == "rule_matches_total")
    );
    assert_eq!(series.len(), 2, "{series:?}");
}

#[tokio::test]
async fn canary_by_cookie_draws_once() {
    let unit = unit("canary-by-cookie").await;
    let next = Hint {
        cluster: Some("next".into()),
        ..Hint::default()
    };
    let became = pre_route(&unit, Request::get("/")).await;
    assert_eq!(became.went, Ok(Decision::Reroute(next)));
    let given = Given::that(became.subject);
    let became = run(&unit, Stage::PostResponse, given).await;
    let cookie = became.fields()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("canary=1; "), "{cookie}");
    // Who has drawn is not drawn again.
    let became = pre_route(&unit, Request::get("/").header("cookie", "canary=0")).await;
    assert_eq!(became.went, Ok(Decision::Continue));
    let given = Given::that(became.subject);
    let became = run(&unit, Stage::PostResponse, given).await;
    assert!(!became.fields().contains_key("set-cookie"));
}

#[tokio::test]
async fn sign_request_signs_what_the_upstream_sees() {
    let unit = unit("sign-request").await;
    let given = || {
        let mut given = Given::of(Request::post("/seen/by/client"));
        given.upstream.authority = "inner.example".into();
        given.upstream.path_with_query = "/a?b=c".into();
        given
    };
    let given_body = given().buffered(b"hello", 10);
    let became = run(&unit, Stage::PreUpstream, given_body).await;
    assert_eq!(became.went, Ok(Decision::Continue));
    let field = became.fields()["x-signature"].to_str().unwrap();
    let created = field.strip_prefix("keyid=\"k1\", created=").unwrap();
    let (created, signature) = created.split_once(", signature=").unwrap();
    let key = BASE64_STANDARD.decode(KEY).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = format!("POST\ninner.example\n/a?b=c\n{created}\nhello");
    let expected = hmac::sign(&key, signed.as_bytes());
    assert_eq!(
        signature.trim_matches('"'),
        BASE64_STANDARD.encode(expected)
    );
    // What it does not see it cannot sign.
    let became = run(&unit, Stage::PreUpstream, given()).await;
    assert!(became.went.is_err());
}

#[tokio::test]
async fn redact_json_masks_as_the_body_passes() {
    let unit = unit("redact-json").await;
    let became = run(&unit, Stage::PreUpstream, Given::any()).await;
    assert_eq!(became.fields()["accept-encoding"], "identity");
    for (of, shown) in [
        ("application/json", r#"{"a":{"ssn":"***"},"b":1}"#),
        ("text/plain", r#"{"a":{"ssn":"123"},"b":1}"#),
    ] {
        let mut given = Given::any();
        let response = Response::builder().header("content-type", of).body(());
        given.response = response.unwrap().into_parts().0;
        let chunks = [r#"{"a":{"s"#, r#"sn":"1"#, r#"23"},"b":1}"#];
        let chunks = chunks.map(|chunk| Feed::Data(chunk.into()));
        let passed = pass(&unit, Stage::PostResponse, given, chunks.into()).await;
        assert_eq!(passed.text(), shown, "{of}");
        assert_eq!(passed.end, Ok(None), "{of}");
    }
}
