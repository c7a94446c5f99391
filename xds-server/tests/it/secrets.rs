//! Secrets over REST: written, read back without their keys, written back.

use fleetway_api::rest::Code;
use rcgen::KeyPair;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    certificates::{Authority, Issued},
    support::{JSON, Server},
};

const WEB: &str = "/v1/secrets/web";

async fn with_secret(issued: &Issued) -> Server {
    let server = Server::start().await;
    let put = server.put(WEB, &issued.body()).await;
    issued.not_in(&put.expect(StatusCode::CREATED).text);
    server
}

#[tokio::test]
async fn what_is_read_can_be_written_back_with_a_change_and_the_key_stays() {
    let issued = Authority::new().issue("a.example.com", 2999);
    let server = with_secret(&issued).await;
    let read = server.get(WEB).await.ok();
    issued.not_in(&read.text);
    let unchanged = server.put(WEB, &read.text).await.ok();
    assert_eq!(unchanged.json()["meta"]["version"], "1");

    let mut document: Value = read.json();
    document["labels"] = json!({"team": "a"});
    server.put(WEB, &document.to_string()).await.ok();
    server.patch(WEB, "labels: {team: b}").await.ok();
    let operation = json!({"operations": [{"put": {"kind": "Secret", "name": "web",
        "labels": {"team": "c"}, "certificate": document["certificate"]}}]});
    let changed = server
        .post("/v1/transactions", &operation.to_string())
        .await;
    assert_eq!(changed.ok().json()["revision"], 4);

    // The same key in other lines is the same key.
    let spaced = Issued {
        chain: issued.chain.clone(),
        key: format!("\n{}\n", issued.key),
    };
    let mut document: Value = serde_json::from_str(&spaced.body()).unwrap();
    document["labels"] = json!({"team": "c"});
    let same = server.put(WEB, &document.to_string()).await.ok();
    assert_eq!(same.json()["meta"]["version"], "4");
    for revision in 1..=4 {
        let shown = server.get(&format!("/v1/revisions/{revision}")).await.ok();
        assert!(shown.text.contains("[redacted sha256:"));
        issued.not_in(&shown.text);
    }
}

#[tokio::test]
async fn a_renewed_certificate_goes_with_the_sign_of_its_key_and_another_does_not() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let issued = authority.issue_for(&key, "a.example.com", 2998);
    let server = with_secret(&issued).await;
    let renewed = authority.issue_for(&key, "a.example.com", 2999);
    let patch = json!({"certificate": {"chain": renewed.chain}}).to_string();
    let patched = server.patch(WEB, &patch).await.ok();
    assert_eq!(patched.json()["certificate"]["chain"], renewed.chain);

    let other = authority.issue("a.example.com", 2999);
    let patch = json!({"certificate": {"chain": other.chain}}).to_string();
    let faults = server.patch(WEB, &patch).await.faults(422, Code::Invalid);
    assert!(
        faults[0].contains("is not the key of the first certificate"),
        "{faults:?}"
    );
}

#[tokio::test]
async fn a_sign_of_no_key_or_of_another_is_refused_with_the_remedy() {
    let issued = Authority::new().issue("a.example.com", 2999);
    let server = with_secret(&issued).await;
    let document = server.get(WEB).await.ok();
    let other = json!({"certificate": document.json()["certificate"]}).to_string();
    let faults = server.put("/v1/secrets/other", &other).await;
    assert_eq!(
        faults.faults(422, Code::Invalid),
        [
            "secrets/other: certificate.private_key: is only the sign that a key was left out, and there is none to keep: give the key"
        ]
    );
    let forged = json!({"certificate": {"private_key": "[redacted sha256:0000000000000000]"}});
    let faults = server.patch(WEB, &forged.to_string()).await;
    let faults = faults.faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("secrets/web: certificate.private_key: is the sign of another key"),
        "{faults:?}"
    );
    assert_eq!(server.get(WEB).await.ok().text, document.text);
}

#[tokio::test]
async fn what_has_expired_is_not_taken_and_what_expires_later_stays() {
    let authority = Authority::new();
    let expired = authority.issue("a.example.com", 2020);
    let mut server = Server::start().await;
    let faults = server.put(WEB, &expired.body()).await;
    let faults = faults.faults(422, Code::Invalid);
    assert!(
        faults[0].contains("certificate.chain: the certificate of")
            && faults[0].contains("expired at 2020-12-31"),
        "{faults:?}"
    );
    server.restart().await;
}

#[tokio::test]
async fn metrics_tell_when_each_secret_expires() {
    let issued = Authority::new().issue("a.example.com", 2999);
    let server = with_secret(&issued).await;
    let text = server.get("/metrics").await.ok().text;
    let line = "fleetway_certificate_expiry_timestamp_seconds{secret=\"web\"} 32503593600\n";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn no_error_quotes_a_key_wherever_it_stands() {
    let issued = Authority::new().issue("a.example.com", 2999);
    let server = Server::start().await;
    let key = &issued.key;
    let indented = key.replace('\n', "\n    ");
    let bodies = [
        json!({"certificate": key}).to_string(),
        json!({"certificate": {"chain": 7, "private_key": [key]}}).to_string(),
        json!({"certificate": {"chain": key, "private_key": key}}).to_string(),
        json!({"ca": {"certificates": key}, "certificate": {"private_key": key}}).to_string(),
        json!({"name": "other", "labels": key, "fleets": key}).to_string(),
        json!({"labels": {"a": key}, "fleets": [key]}).to_string(),
        json!([key]).to_string(),
        json!({"operations": [{"put": key}, {"put": {"kind": "Secret", "certificate": key}}]})
            .to_string(),
        json!({"operations": key, "message": [key]}).to_string(),
        format!("certificate: {{chain: x, private_key: {key}}}"),
        format!("certificate:\n  private_key: {key}"),
        format!("certificate:\n  private_key: |\n{key}"),
        format!("certificate:\n  private_key: \"{key}"),
        format!("certificate:\n  private_key: |\n    {indented}\n  private_key: |\n    {indented}"),
        format!("{{\"certificate\": {{\"private_key\": \"{key}\"}}}}"),
        format!(
            "{{\"certificate\": {{\"private_key\": \"{}",
            key.replace('\n', "\\n")
        ),
        key.clone(),
    ];
    for body in &bodies {
        for content_type in [JSON, "application/yaml"] {
            let headers = [("content-type", content_type)];
            for (method, path) in [(Method::PUT, WEB), (Method::POST, "/v1/transactions")] {
                let answer = server.with(method, path, &headers, body).await;
                assert!(answer.status.is_client_error(), "{body}");
                issued.not_in(&answer.text);
            }
        }
    }
}

#[tokio::test]
async fn a_bundle_with_the_key_in_it_is_refused_and_comments_are_not_kept() {
    let issued = Authority::new().issue("a.example.com", 2999);
    let server = Server::start().await;
    let body = |chain: &str| {
        json!({"certificate": {"chain": chain, "private_key": issued.key}}).to_string()
    };
    let bundle = format!("{}{}", issued.chain, issued.key);
    let refused = server.put(WEB, &body(&bundle)).await;
    assert!(!refused.text.contains(issued.key.lines().nth(1).unwrap()));
    let faults = refused.faults(422, Code::Invalid);
    assert!(
        faults[0].starts_with("secrets/web: certificate.chain: holds a private key: put it into"),
        "{faults:?}"
    );
    let noted = format!("subject=a\n{}my password is hunter2\n", issued.chain);
    let put = server.put(WEB, &body(&noted)).await;
    put.expect(StatusCode::CREATED);
    for path in [WEB, "/v1/secrets", "/v1/revisions/1"] {
        let text = server.get(path).await.ok().text;
        assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
        assert!(!text.contains("hunter2"), "{path}: {text}");
    }
}
