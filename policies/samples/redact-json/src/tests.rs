use fleetway_policy::prelude::*;
use fleetway_policy::testing;

use super::RedactJson;

const CONFIG: &str = r#"{"fields":["ssn","naïve","😀"]}"#;

/// Passes a body through in chunks of a size.
fn redact(content_type: &str, body: &str, chunk: usize) -> String {
    let mut policy: RedactJson = testing::policy(CONFIG).unwrap();
    let request = testing::request("GET", "/");
    let response = testing::response(200).header("content-type", content_type);
    let exchange = testing::exchange("r", "c");
    let outcome = policy.post_response(&request.view(), &response.view(), &exchange, None);
    assert_eq!(outcome.unwrap(), Outcome::Continue);
    let chunks = body.as_bytes().chunks(chunk);
    let out = testing::transform(chunks, |body, out| policy.response_body(body, out)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_field_is_masked_wherever_chunks_end() {
    let cases = [
        (r#"{"ssn":"1-2","name":"a"}"#, r#"{"ssn":"***","name":"a"}"#),
        (
            r#"{"a":[{"ssn" : 12.5e3 },{"ssn":null}]}"#,
            r#"{"a":[{"ssn" : "***" },{"ssn":"***"}]}"#,
        ),
        (
            r#"{"ssn":{"a":"}]\"","b":[1,{"ssn":2}]},"c":1}"#,
            r#"{"ssn":"***","c":1}"#,
        ),
        (
            r#"{"ssn":[["\\"]],"c":"ssn"}"#,
            r#"{"ssn":"***","c":"ssn"}"#,
        ),
        (r#"{"ssn":"a\"b\\","c":1}"#, r#"{"ssn":"***","c":1}"#),
        (
            r#"{"s\u0073n":1,"ss\u006E":2}"#,
            r#"{"s\u0073n":"***","ss\u006E":"***"}"#,
        ),
        (
            r#"{"na\u00efve":1,"naïve":2}"#,
            r#"{"na\u00efve":"***","naïve":"***"}"#,
        ),
        (
            r#"{"\ud83d\ude00":1,"😀":2}"#,
            r#"{"\ud83d\ude00":"***","😀":"***"}"#,
        ),
        (
            r#"{"\ud83dssn":1,"ssn\ud83d":2}"#,
            r#"{"\ud83dssn":1,"ssn\ud83d":2}"#,
        ),
        (
            r#"{"ssnx":1,"xssn":2,"SSN":3}"#,
            r#"{"ssnx":1,"xssn":2,"SSN":3}"#,
        ),
        (
            r#"["ssn","ssn:",{"\"ssn":1}]"#,
            r#"["ssn","ssn:",{"\"ssn":1}]"#,
        ),
        (
            "{\"ssn\":1}\n{\"ssn\":2}\n",
            "{\"ssn\":\"***\"}\n{\"ssn\":\"***\"}\n",
        ),
        (r#"{"ssn":"cut o"#, r#"{"ssn":"***""#),
        ("", ""),
    ];
    for (body, expected) in cases {
        for chunk in 1..=body.len().max(1) {
            assert_eq!(
                redact("application/json", body, chunk),
                expected,
                "chunks of {chunk}"
            );
        }
    }
}

#[test]
fn other_bodies_pass_as_they_are() {
    let body = r#"{"ssn":1}"#;
    assert_eq!(redact("text/plain", body, 4), body);
    assert_eq!(
        redact("application/problem+json; charset=utf-8", body, 4),
        r#"{"ssn":"***"}"#
    );
}

#[test]
fn what_cannot_be_looked_into_is_not_sent() {
    let mut policy: RedactJson = testing::policy(CONFIG).unwrap();
    let request = testing::request("GET", "/");
    policy
        .pre_upstream(
            &request.view(),
            &testing::upstream("r", "c", "/").view(),
            None,
        )
        .unwrap();
    assert_eq!(
        request.view().headers().get_str("accept-encoding").unwrap(),
        "identity"
    );
    let response = testing::response(200)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    let exchange = testing::exchange("r", "c");
    let outcome = policy.post_response(&request.view(), &response.view(), &exchange, None);
    assert!(matches!(outcome.unwrap(), Outcome::Respond(answer) if answer.status == 502));
}

#[test]
fn a_wrong_configuration_is_pointed_at() {
    let at = |json| {
        testing::policy::<RedactJson>(json).err().unwrap()[0]
            .path
            .clone()
    };
    assert_eq!(at(r#"{"fields":[]}"#), "/fields");
    assert_eq!(at(r#"{"fields":["a",1]}"#), "/fields/1");
}
