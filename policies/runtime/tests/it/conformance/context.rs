//! What a stage is told.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use fleetway_policy_runtime::{
    Certificate, Client, Exchange, Facts, Protocol, Stage, Subject, Tls, Upstream,
};
use http::{HeaderValue, Request, Response};
use serde_json::json;

use super::{
    Probe, key,
    stage::{Given, run},
};
use crate::support::{facts, subject};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A request of which everything is known.
fn known() -> Box<Subject> {
    let mut subject = subject(
        Request::post("https://example.com:8443/a/b?c=d&e")
            .header("x-many", "b")
            .header("host", "example.com:8443")
            .header("x-raw", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .header("x-text", "caf\u{e9}")
            .header("traceparent", TRACE)
            .header("x-many", "a"),
    );
    let certificate = Certificate {
        subject: "CN=one,O=Example".into(),
        uris: vec!["spiffe://example.com/one".into(), "urn:b".into()],
        dns_names: vec!["one.example.com".into(), "a.example.com".into()],
        sha256: "ab".repeat(32),
    };
    let client = Client {
        address: "[2001:db8::7]:4711".parse().unwrap(),
        listener: "web".into(),
        // None that a floating point number can be.
        connection: (1 << 53) + 1,
        tls: Some(Tls {
            version: "TLSv1.3",
            server_name: Some("example.com".into()),
            certificate: Some(certificate),
        }),
    };
    subject.facts = Arc::new(Facts {
        received: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        protocol: Protocol::Http2,
        client: Arc::new(client),
        ..facts()
    });
    subject
}

pub async fn each_field_of_a_request_arrives(probe: &Probe) {
    for stage in Stage::ALL {
        let (report, _) = probe.reports(stage, json!([]), Given::that(known())).await;
        assert_eq!(report["stage"], stage.as_str());
        assert_eq!(report["calls"], 1);
        let expected = json!({
            "id": "11111111-2222-4333-8444-555555555555",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "received": 1_700_000_000_123_456_789_u64,
            "client": {
                "address": "2001:db8::7",
                "port": 4711,
                "protocol": "http2",
                "listener": "web",
                "connection": 9_007_199_254_740_993_u64,
            },
            "tls": {
                "version": "TLSv1.3",
                "server_name": "example.com",
                "certificate": {
                    "subject": "CN=one,O=Example",
                    "uris": ["spiffe://example.com/one", "urn:b"],
                    "dns_names": ["one.example.com", "a.example.com"],
                    "sha256": "ab".repeat(32),
                },
            },
            "method": "POST",
            "scheme": "https",
            "authority": "example.com:8443",
            "path": "/a/b",
            "query": "c=d&e",
            "headers": [
                ["x-many", "b"],
                ["x-many", "a"],
                ["x-raw", "caf\u{fffd}"],
                ["x-text", "caf\u{e9}"],
                ["traceparent", TRACE],
            ],
        });
        assert_eq!(report["request"], expected, "{stage}");
    }
}

pub async fn what_a_request_does_not_have_is_none(probe: &Probe) {
    let (report, _) = probe
        .reports(Stage::PreRoute, json!([]), Given::any())
        .await;
    let request = &report["request"];
    for field in ["trace_id", "tls", "query"] {
        assert_eq!(request[field], json!(null), "{field}");
    }
    assert_eq!(request["scheme"], "http");
    assert_eq!(request["authority"], "");
    assert_eq!(request["headers"], json!([]));
    assert_eq!(request["received"], 0);
    // A handshake without a name and a certificate.
    let mut given = Given::any();
    let mut client = facts().client.as_ref().clone();
    client.tls = Some(Tls {
        version: "TLSv1.2",
        server_name: None,
        certificate: None,
    });
    given.subject.facts = Arc::new(Facts {
        client: Arc::new(client),
        ..facts()
    });
    let (report, _) = probe.reports(Stage::PreRoute, json!([]), given).await;
    let expected = json!({"version": "TLSv1.2", "server_name": null, "certificate": null});
    assert_eq!(report["request"]["tls"], expected);
}

pub async fn each_protocol_has_its_name(probe: &Probe) {
    for (protocol, name) in [
        (Protocol::Http10, "http10"),
        (Protocol::Http11, "http11"),
        (Protocol::Http2, "http2"),
    ] {
        let mut given = Given::any();
        given.subject.facts = Arc::new(Facts {
            protocol,
            ..facts()
        });
        let (report, _) = probe.reports(Stage::PreRoute, json!([]), given).await;
        assert_eq!(report["request"]["client"]["protocol"], name);
    }
}

pub async fn each_field_of_an_upstream_arrives(probe: &Probe) {
    let mut given = Given::any();
    given.upstream = Upstream {
        route: "users".into(),
        labels: vec![("team".into(), "a".into()), ("tier".into(), "1".into())],
        cluster: "users-v2".into(),
        authority: "users.internal:81".into(),
        path_with_query: "/v2/7?a=b".into(),
        ..Upstream::default()
    };
    let (report, became) = probe.reports(Stage::PreUpstream, json!([]), given).await;
    let expected = json!({
        "route": "users",
        "labels": [["team", "a"], ["tier", "1"]],
        "cluster": "users-v2",
        "authority": "users.internal:81",
        "path_with_query": "/v2/7?a=b",
    });
    assert_eq!(report["upstream"], expected);
    // Nothing changes by being looked at.
    let upstream = became.upstream.unwrap();
    assert_eq!(upstream.set_authority, None);
    assert_eq!(upstream.set_timeout, None);
    assert_eq!(upstream.set_retries, None);
}

pub async fn each_field_of_a_response_arrives(probe: &Probe) {
    let response = Response::builder()
        .status(503)
        .header("x-many", "b")
        .header("server", "nginx")
        .header("x-many", "a");
    let mut given = Given::any();
    given.response = response.body(()).unwrap().into_parts().0;
    given.exchange = Exchange {
        route: Some("users".into()),
        cluster: Some("users-v2".into()),
        endpoint: Some("192.0.2.1:8080".parse().unwrap()),
        duration: Duration::from_micros(1500),
    };
    let (report, _) = probe.reports(Stage::PostResponse, json!([]), given).await;
    let headers = json!([["x-many", "b"], ["x-many", "a"], ["server", "nginx"]]);
    let expected = json!({"status": 503, "headers": headers});
    assert_eq!(report["response"], expected);
    let expected = json!({
        "route": "users",
        "cluster": "users-v2",
        "endpoint": "192.0.2.1:8080",
        "duration": 1500,
    });
    assert_eq!(report["exchange"], expected);
}

pub async fn an_answer_of_the_proxy_was_not_exchanged(probe: &Probe) {
    let given = Given::any();
    let (report, _) = probe.reports(Stage::PostResponse, json!([]), given).await;
    let expected = json!({"route": null, "cluster": null, "endpoint": null, "duration": 0});
    assert_eq!(report["exchange"], expected);
    let expected = json!({"status": 200, "headers": []});
    assert_eq!(report["response"], expected);
}

pub async fn a_policy_knows_its_name(probe: &Probe) {
    let report = json!({"report": {"to": "answer"}});
    for stage in Stage::ALL {
        let config = json!({key(stage): [{"policy_name": {}}, report]});
        for name in ["probe", "a.b-2"] {
            let became = run(&probe.unit(name, &config), stage, Given::any()).await;
            assert_eq!(became.report()["results"], json!([name]), "{stage}");
        }
    }
}
