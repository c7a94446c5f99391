//! Requests of a policy's own. What a cluster makes of them is in the proxy's own tests.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fleetway_policy_runtime::{
    Decision, Feed, Grant, Outbound, SendError, Sending, Sent, Stage, Unit,
};
use http::{HeaderValue, Response};
use serde_json::{Value, json};

use super::{
    Probe, body_key, key,
    stage::{Given, pass, run},
};
use crate::support::facts;

/// How large a body may be.
const BODY_MAX: usize = 1 << 20;

/// A network that keeps what it is to send, and answers all of it alike.
#[derive(Debug)]
struct Network {
    answer: Result<Response<Bytes>, SendError>,
    sent: Mutex<Vec<Sending>>,
}

impl Network {
    fn that(answer: Result<Response<Bytes>, SendError>) -> Arc<Self> {
        Arc::new(Self {
            answer,
            sent: Mutex::default(),
        })
    }

    /// One that answers everything with `yes`.
    fn any() -> Arc<Self> {
        Self::that(Ok(Response::new("yes".into())))
    }

    /// A request that is made in front of it.
    fn given(self: &Arc<Self>) -> Given {
        let mut given = Given::any();
        let facts = Arc::get_mut(&mut given.subject.facts).unwrap();
        facts.outbound = Some(self.clone());
        given
    }

    /// What it was to send since this was last asked.
    fn sent(&self) -> Vec<Sending> {
        mem::take(&mut self.sent.lock().unwrap())
    }
}

impl Outbound for Network {
    fn send(&self, sending: Sending) -> Sent {
        self.sent.lock().unwrap().push(sending);
        let answer = self.answer.clone();
        Box::pin(async {
            // It takes a while.
            tokio::task::yield_now().await;
            answer
        })
    }
}

/// A policy that may send to `auth`, which has a second to answer.
fn granted(probe: &Probe, config: &Value) -> Arc<Unit> {
    let mut unit = probe.unit("probe", config);
    Arc::get_mut(&mut unit).unwrap().grant = Grant {
        clusters: Arc::new(["auth".into(), "other".into()]),
        timeout: Duration::from_secs(1),
    };
    unit
}

/// What these actions give at a stage.
async fn results(probe: &Probe, stage: Stage, mut actions: Vec<Value>, given: Given) -> Value {
    actions.push(json!({"report": {"to": "answer"}}));
    let unit = granted(probe, &json!({key(stage): actions}));
    run(&unit, stage, given).await.report()["results"].take()
}

/// The simplest there is.
fn get() -> Value {
    json!({"http": {"cluster": "auth", "path": "/"}})
}

pub async fn each_field_of_a_request_of_its_own_arrives(probe: &Probe) {
    let action = json!({"http": {
        "cluster": "auth",
        "method": "PATCH",
        "path": "/a/%20b?c=d&e",
        "authority": "auth.example:81",
        "headers": [["x-many", "b"], ["X-Text", "caf\u{e9}"], ["x-many", "a"], ["x-empty", ""]],
        "body": "a \u{1f600}\r\n",
        "timeout": 250,
    }});
    let response = Response::builder()
        .status(418)
        .header("x-many", "b")
        .header("x-raw", HeaderValue::from_bytes(b"caf\xe9").unwrap())
        .header("x-many", "a")
        .header("content-length", "5");
    let network = Network::that(Ok(response.body("te\u{e4}\n".into()).unwrap()));
    for stage in Stage::ALL {
        let results = results(probe, stage, vec![action.clone()], network.given()).await;
        let sent = network.sent();
        let [sending] = sent.as_slice() else {
            panic!("{stage}: {sent:?}, {results}");
        };
        assert_eq!(&*sending.cluster, "auth", "{stage}");
        assert_eq!(sending.request.method(), "PATCH", "{stage}");
        assert_eq!(sending.request.uri(), "/a/%20b?c=d&e", "{stage}");
        let fields = sending.request.headers().iter();
        let fields: Vec<_> = fields
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let expected: [(_, &[u8]); 6] = [
            ("x-many", b"b"),
            ("x-many", b"a"),
            ("x-text", b"caf\xc3\xa9"),
            ("x-empty", b""),
            ("host", b"auth.example:81"),
            // That of the request it is called for.
            ("x-request-id", b"11111111-2222-4333-8444-555555555555"),
        ];
        assert_eq!(fields, expected, "{stage}");
        assert_eq!(sending.request.body(), "a \u{1f600}\r\n", "{stage}");
        assert_eq!(sending.timeout, Duration::from_millis(250), "{stage}");
        assert_eq!(sending.max_body, BODY_MAX, "{stage}");
        let headers = json!([
            ["x-many", "b"],
            ["x-many", "a"],
            ["x-raw", "caf\u{fffd}"],
            ["content-length", "5"],
        ]);
        let expected = json!([{"status": 418, "headers": headers, "body": "te\u{e4}\n"}]);
        assert_eq!(results, expected, "{stage}");
    }
}

pub async fn what_a_request_of_its_own_leaves_out_is_filled_in(probe: &Probe) {
    let network = Network::any();
    let results = results(probe, Stage::PreRoute, vec![get()], network.given()).await;
    let expected = json!([{"status": 200, "headers": [], "body": "yes"}]);
    assert_eq!(results, expected);
    let sent = network.sent();
    let request = &sent[0].request;
    assert_eq!(request.method(), "GET");
    assert_eq!(request.uri(), "/");
    assert_eq!(request.headers()["host"], "auth");
    assert_eq!(request.headers()["x-request-id"], facts().id);
    assert_eq!(request.headers().len(), 2);
    assert_eq!(request.body(), "");
}

pub async fn a_request_of_its_own_waits_no_longer_than_is_granted(probe: &Probe) {
    let times = [
        (None, 1000),
        (Some(0), 0),
        (Some(1), 1),
        (Some(999), 999),
        (Some(1001), 1000),
        (Some(u32::MAX), 1000),
    ];
    let send = |timeout| json!({"http": {"cluster": "auth", "path": "/", "timeout": timeout}});
    let actions = times.map(|(timeout, _)| send(timeout)).into();
    let network = Network::any();
    results(probe, Stage::PreUpstream, actions, network.given()).await;
    let sent = network.sent();
    let given: Vec<_> = sent.iter().map(|sending| sending.timeout).collect();
    let expected = times.map(|(_, milliseconds)| Duration::from_millis(milliseconds));
    assert_eq!(given, expected);
}

pub async fn why_there_is_no_response_is_told(probe: &Probe) {
    for (error, said) in [
        (SendError::Timeout, "timeout"),
        (
            SendError::Failed("no endpoint \u{2014} of 2".into()),
            "failed: no endpoint \u{2014} of 2",
        ),
        (SendError::TooLarge, "too-large"),
    ] {
        let network = Network::that(Err(error));
        for stage in Stage::ALL {
            // It is no failure of the call, which can send more.
            let results = results(probe, stage, vec![get(), get()], network.given()).await;
            assert_eq!(results, json!([said, said]), "{stage}");
            assert_eq!(network.sent().len(), 2, "{stage}");
        }
    }
    // Where there is nothing that sends.
    let results = results(probe, Stage::PreRoute, vec![get()], Given::any()).await;
    let said = results[0].as_str().unwrap();
    assert!(said.starts_with("failed: "), "{results}");
}

pub async fn clusters_that_are_not_granted_are_forbidden(probe: &Probe) {
    let to = |cluster: &str| json!({"http": {"cluster": cluster, "path": "/"}});
    let network = Network::any();
    let actions = vec![
        to("users"),
        to(""),
        to("AUTH"),
        to("auth.other"),
        to("other"),
    ];
    let results = results(probe, Stage::PreRoute, actions, network.given()).await;
    let results = results.as_array().unwrap();
    assert_eq!(results[..4], vec!["forbidden"; 4]);
    assert_eq!(results[4]["status"], 200);
    let sent = network.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(&*sent[0].cluster, "other");
    // One that is granted none.
    for stage in Stage::ALL {
        let actions = json!([to("auth"), to("probe")]);
        let (report, _) = probe.reports(stage, actions, network.given()).await;
        assert_eq!(report["results"], json!(["forbidden", "forbidden"]));
        assert!(network.sent().is_empty(), "{stage}");
    }
}

pub async fn what_is_no_request_is_not_sent(probe: &Probe) {
    let with = |name: &str, value: Value| {
        let mut request = json!({"cluster": "auth", "path": "/"});
        request[name] = value;
        json!({ "http": request })
    };
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count)
            .map(|at| json!([format!("x-{at}"), ""]))
            .collect();
        with("headers", json!(fields))
    };
    let field = |name: &str, value: &str| with("headers", json!([["x-a", "1"], [name, value]]));
    let cases = [
        (with("path", json!("a")), "path-with-query"),
        (with("path", json!("")), "path-with-query"),
        (with("path", json!("/a b")), "path-with-query"),
        (
            with("path", json!("http://example.com/")),
            "path-with-query",
        ),
        (with("method", json!("")), "method"),
        (with("method", json!("B D")), "method"),
        (with("method", json!("CONNECT")), "method"),
        (with("authority", json!("")), "authority"),
        (with("authority", json!("a b")), "authority"),
        (with("authority", json!("a@b")), "authority"),
        (field("a b", "1"), "headers"),
        (field("x-b", "a\nb"), "headers"),
        (field("host", "example.com"), "headers"),
        (field("Content-Length", "1"), "headers"),
        (field("x-request-id", "1"), "headers"),
        (fields(101), "headers"),
        (with("body", json!("a".repeat(BODY_MAX + 1))), "body"),
    ];
    let network = Network::any();
    for cases in cases.chunks(8) {
        let actions = cases.iter().map(|(action, _)| action.clone()).collect();
        let results = results(probe, Stage::PreRoute, actions, network.given()).await;
        let results = results.as_array().unwrap();
        assert_eq!(results.len(), cases.len());
        for (said, (_, what)) in results.iter().zip(cases) {
            // It says what is wrong with it.
            let begin = format!("invalid: {what}: ");
            let said = said.as_str().unwrap_or_default();
            assert!(
                said.starts_with(&begin) && said.len() > begin.len(),
                "{what}: {results:?}"
            );
        }
        assert!(network.sent().is_empty(), "{results:?}");
    }
    // As much as there may be.
    let actions = vec![fields(100), with("body", json!("a".repeat(BODY_MAX)))];
    results(probe, Stage::PreRoute, actions, network.given()).await;
    let sent = network.sent();
    assert_eq!(sent[0].request.headers().len(), 102);
    assert_eq!(sent[1].request.body().len(), BODY_MAX);
}

pub async fn a_ninth_request_of_its_own_ends_the_call(probe: &Probe) {
    let network = Network::any();
    for stage in Stage::ALL {
        let unit = granted(probe, &json!({key(stage): vec![get(); 8]}));
        let became = run(&unit, stage, network.given()).await;
        assert_eq!(became.went, Ok(Decision::Continue), "{stage}");
        assert_eq!(network.sent().len(), 8, "{stage}");
        let unit = granted(probe, &json!({key(stage): vec![get(); 9]}));
        let became = run(&unit, stage, network.given()).await;
        let failure = became.went.expect_err("it is ended");
        assert_eq!(failure.cause(), "misuse", "{stage}: {failure}");
        assert_eq!(network.sent().len(), 8, "{stage}");
    }
}

pub async fn requests_are_sent_while_a_body_passes(probe: &Probe) {
    let write = |cluster: &str| json!({"write_http": {"cluster": cluster, "path": "/b"}});
    let network = Network::any();
    for stage in [Stage::PreUpstream, Stage::PostResponse] {
        let body = [
            json!({"pass_chunks": {"count": 1}}),
            write("users"),
            write("auth"),
        ];
        let unit = granted(probe, &json!({body_key(stage): body}));
        let chunks = || vec![Feed::Data("<".into()), Feed::Data(">".into())];
        let passed = pass(&unit, stage, network.given(), chunks()).await;
        assert_eq!(passed.writes, ["<", "forbidden", "yes", ">"], "{stage}");
        assert_eq!(passed.end, Ok(None), "{stage}");
        let sent = network.sent();
        assert_eq!(sent.len(), 1, "{stage}");
        assert_eq!(sent[0].request.uri(), "/b", "{stage}");
        // It is the same call as the one before it.
        let config =
            json!({key(stage): vec![get(); 7], body_key(stage): [write("auth"), write("auth")]});
        let passed = pass(&granted(probe, &config), stage, network.given(), chunks()).await;
        assert_eq!(passed.writes, ["yes"], "{stage}");
        let failure = passed.end.expect_err("it is ended");
        assert_eq!(failure.cause(), "misuse", "{stage}: {failure}");
        assert_eq!(network.sent().len(), 8, "{stage}");
    }
}
