use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use fleetway_policy::prelude::*;
use fleetway_policy::testing::{self, Proxy};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::JwtClaims;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000;

fn policy(more: Value) -> JwtClaims {
    let mut config = json!({
        "key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "claims": [{ "claim": "sub", "header": "x-user" }, { "claim": "/realm/roles", "header": "x-roles" }],
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    testing::policy(&config.to_string()).unwrap()
}

fn token(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

fn good() -> Value {
    json!({ "sub": "ann", "realm": { "roles": ["a", "b"] }, "exp": NOW + 60, "iss": "me", "aud": ["shop"] })
}

/// The status of the answer, and the fields that went on.
fn run(
    policy: &mut JwtClaims,
    token: Option<String>,
) -> (Option<u16>, Option<String>, Option<String>) {
    Proxy::set_now(Duration::from_secs(NOW));
    let mut request = testing::request("GET", "/").header("x-user", "mallory");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let status = match policy.pre_route(&request.view()).unwrap() {
        Decision::Respond(answer) => Some(answer.status),
        _ => None,
    };
    let headers = request.view().headers();
    (
        status,
        headers.get_str("x-user"),
        headers.get_str("x-roles"),
    )
}

#[test]
fn claims_of_a_valid_token_go_on_as_fields() {
    let mut policy = policy(json!({ "issuer": "me", "audience": "shop" }));
    let token = token(&json!({ "alg": "HS256" }), &good(), KEY);
    assert_eq!(
        run(&mut policy, Some(token)),
        (None, Some("ann".into()), Some("a,b".into()))
    );
}

#[test]
fn a_client_cannot_send_the_fields_itself() {
    assert_eq!(
        run(&mut policy(json!({ "optional": true })), None),
        (None, None, None)
    );
    assert_eq!(run(&mut policy(json!({})), None), (Some(401), None, None));
}

#[test]
fn a_token_that_does_not_count_is_refused() {
    let hs256 = json!({ "alg": "HS256" });
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let mut policy = policy(json!({ "issuer": "me", "audience": "shop", "leeway": 5 }));
    let mut status = |token| run(&mut policy, Some(token)).0;
    assert_eq!(status(token(&hs256, &good(), b"another")), Some(401));
    assert_eq!(
        status(token(&json!({ "alg": "none" }), &good(), KEY)),
        Some(401)
    );
    assert_eq!(
        status(token(
            &json!({ "alg": "HS256", "crit": ["x"] }),
            &good(),
            KEY
        )),
        Some(401)
    );
    for (name, value) in [
        ("exp", json!(NOW - 5)),
        ("exp", json!(null)),
        ("exp", json!("soon")),
        ("nbf", json!(NOW + 6)),
        ("iss", json!("you")),
        ("aud", json!("bank")),
    ] {
        assert_eq!(
            status(token(&hs256, &with(name, value.clone()), KEY)),
            Some(401),
            "{name} {value}"
        );
    }
    let good_token = token(&hs256, &good(), KEY);
    let cut = good_token.rsplit_once('.').unwrap().0.to_owned() + ".";
    assert_eq!(status(cut), Some(401));
    assert_eq!(status("x".into()), Some(401));
    assert_eq!(
        status(token(&hs256, &with("exp", json!(NOW - 4)), KEY)),
        None
    );
}

#[test]
fn two_tokens_are_none() {
    let mut policy = policy(json!({ "optional": true }));
    let request = testing::request("GET", "/")
        .header("authorization", "a")
        .header("authorization", "b");
    assert!(matches!(
        policy.pre_route(&request.view()).unwrap(),
        Decision::Respond(_)
    ));
}

#[test]
fn a_wrong_configuration_is_pointed_at() {
    let at = |json| {
        testing::policy::<JwtClaims>(json).err().unwrap()[0]
            .path
            .clone()
    };
    assert_eq!(at(r#"{"key":"YWJj","claims":[]}"#), "/key");
    assert_eq!(at(r#"{"key":"?","claims":[]}"#), "/key");
    assert_eq!(
        at(
            r#"{"key":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","claims":[{"claim":"a","header":""}]}"#
        ),
        "/claims/0/header"
    );
}
