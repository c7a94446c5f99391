//! Bodies, held as a whole and as they pass.

use fleetway_policy_runtime::{Annotation, Decision, Feed, Stage, Step};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{
    Probe, body_key, key,
    stage::{Given, Passed, pass, run, step, transform},
};

/// The stages that can have a body.
const WITH_BODY: [Stage; 2] = [Stage::PreUpstream, Stage::PostResponse];

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    trailers
}

pub async fn there_is_none_before_a_route_is_chosen(probe: &Probe) {
    let actions = json!([
        {"replace_body": {"text": "b"}},
        {"append_body": {"text": "b"}},
        {"upper_body": {}},
        {"set_header": {"name": "x-a", "value": "1", "of": "trailers"}},
    ]);
    let given = Given::any().buffered(b"a", 10);
    let (report, _) = probe.reports(Stage::PreRoute, actions, given).await;
    assert_eq!(report.get("body"), None);
    assert_eq!(report["results"], json!(vec!["nothing to act on"; 4]));
}

pub async fn a_buffered_body_arrives(probe: &Probe) {
    for stage in WITH_BODY {
        let mut given = Given::any().buffered(b"caf\xc3\xa9", 10);
        given.body.as_mut().unwrap().trailers = Some(trailers());
        let (report, became) = probe.reports(stage, json!([]), given).await;
        let expected = json!({"size": 5, "text": "caf\u{e9}", "trailers": [["x-sum", "7"]]});
        assert_eq!(report["body"], expected, "{stage}");
        assert!(!became.body.unwrap().replaced);
        // An empty one is there all the same; one without trailers has none.
        let given = Given::any().buffered(b"", 10);
        let (report, _) = probe.reports(stage, json!([]), given).await;
        let expected = json!({"size": 0, "text": "", "trailers": null});
        assert_eq!(report["body"], expected, "{stage}");
    }
}

pub async fn a_buffered_body_is_replaced_within_its_bound(probe: &Probe) {
    let actions = json!([
        {"upper_body": {}},
        {"append_body": {"text": "cd"}},
        {"append_body": {"text": "e"}},
        {"replace_body": {"text": "12345"}},
    ]);
    for stage in WITH_BODY {
        let given = Given::any().buffered(b"ab", 4);
        let (report, became) = probe.reports(stage, actions.clone(), given).await;
        let results = json!(["ok", "ok", "too-large", "too-large"]);
        assert_eq!(report["results"], results, "{stage}");
        // It sees what it has put there, and what it could not put there has changed nothing.
        assert_eq!(report["body"]["text"], "ABcd", "{stage}");
        let body = became.body.unwrap();
        assert_eq!(body.bytes, "ABcd");
        assert!(body.replaced);
        let actions = json!([{"replace_body": {"text": ""}}]);
        let given = Given::any().buffered(b"ab", 4);
        let became = probe.does(stage, actions, given).await;
        assert_eq!(became.went, Ok(Decision::Continue));
        assert_eq!(became.body.unwrap().bytes, "");
    }
}

pub async fn there_is_nothing_to_act_on_without_a_buffer(probe: &Probe) {
    let actions = json!([
        {"upper_body": {}},
        {"get_header": {"name": "x-a", "of": "trailers"}},
    ]);
    for stage in WITH_BODY {
        let (report, _) = probe.reports(stage, actions.clone(), Given::any()).await;
        assert_eq!(report.get("body"), None, "{stage}");
        let results = json!(vec!["nothing to act on"; 2]);
        assert_eq!(report["results"], results, "{stage}");
    }
}

/// Has `ab`, `c` and `de` pass through these actions at a stage.
async fn passes(probe: &Probe, stage: Stage, actions: &Value) -> Passed {
    let config = json!({body_key(stage): actions});
    let chunks = ["ab", "c", "de"].map(|chunk| Feed::Data(chunk.into()));
    pass(
        &probe.unit("probe", &config),
        stage,
        Given::any(),
        chunks.into(),
    )
    .await
}

pub async fn a_body_is_changed_as_it_passes(probe: &Probe) {
    for (actions, writes) in [
        (json!([]), vec!["ab", "c", "de"]),
        (json!([{"pass": {}}]), vec!["ab", "c", "de"]),
        (json!([{"upper": {}}]), vec!["AB", "C", "DE"]),
        (
            json!([{"write": {"text": "<"}}, {"upper": {}}, {"write": {"text": ">"}}]),
            vec!["<", "AB", "C", "DE", ">"],
        ),
        (
            json!([{"pass_chunks": {"count": 1}}, {"write": {"text": "|"}}]),
            vec!["ab", "|", "c", "de"],
        ),
        (
            json!([{"write_many": {"text": "x", "times": 3}}, {"drop": {}}]),
            vec!["x", "x", "x"],
        ),
    ] {
        for stage in WITH_BODY {
            let passed = passes(probe, stage, &actions).await;
            // Nothing is gathered in between.
            assert_eq!(passed.writes, writes, "{actions} at {stage}");
            assert_eq!(passed.end, Ok(None), "{actions} at {stage}");
            assert_eq!(passed.unread, 0, "{actions} at {stage}");
        }
    }
    // One without anything in it.
    for stage in WITH_BODY {
        let config = json!({body_key(stage): [{"upper": {}}]});
        let passed = pass(
            &probe.unit("probe", &config),
            stage,
            Given::any(),
            Vec::new(),
        )
        .await;
        assert_eq!(passed.text(), "");
        assert_eq!(passed.end, Ok(None));
    }
}

pub async fn a_streamed_body_has_no_bound(probe: &Probe) {
    for stage in WITH_BODY {
        let unit = probe.unit("probe", &json!({body_key(stage): [{"upper": {}}]}));
        // More than may be written at once, and than is taken of any that is held as a whole here.
        let chunks = [1, 3 << 20, 70_000].map(|size| Feed::Data(vec![b'a'; size].into()));
        let passed = pass(&unit, stage, Given::any(), chunks.into()).await;
        assert_eq!(passed.end, Ok(None), "{stage}");
        let largest = passed.writes.iter().map(|write| write.len()).max();
        assert_eq!(largest, Some(1 << 20), "{stage}");
        let text = passed.writes.concat();
        assert_eq!(text.len(), 1 + (3 << 20) + 70_000, "{stage}");
        assert!(text.iter().all(|byte| *byte == b'A'), "{stage}");
    }
}

pub async fn what_is_not_read_is_dropped(probe: &Probe) {
    let actions = json!([{"pass_chunks": {"count": 1}}, {"write": {"text": "."}}, {"stop": {}}]);
    for stage in WITH_BODY {
        let passed = passes(probe, stage, &actions).await;
        assert_eq!(passed.text(), "ab.", "{stage}");
        assert_eq!(passed.end, Ok(None), "{stage}");
        assert_eq!(passed.unread, 2, "{stage}");
    }
}

pub async fn a_transform_is_the_same_call(probe: &Probe) {
    for stage in WITH_BODY {
        let config = json!({
            key(stage): [{"metadata_set": {"key": "k", "value": "of the head"}}],
            body_key(stage): [
                {"pass_chunks": {"count": 2}},
                {"report": {}},
                {"drop": {}},
                {"write_metadata": {"policy": "probe", "key": "k"}},
            ],
        });
        let chunks = ["ab", "c", "de"].map(|chunk| Feed::Data(chunk.into()));
        let passed = pass(
            &probe.unit("probe", &config),
            stage,
            Given::any(),
            chunks.into(),
        )
        .await;
        let [ab, c, report, note] = passed.writes.as_slice() else {
            panic!("{stage}: {:?}", passed.writes);
        };
        assert_eq!((&ab[..], &c[..]), (&b"ab"[..], &b"c"[..]));
        let report: Value = serde_json::from_slice(report).unwrap();
        let expected = json!({"chunks": 2, "bytes": 3, "trailers": null, "calls": 2});
        assert_eq!(report, expected, "{stage}");
        assert_eq!(note, "of the head", "{stage}");
    }
}

pub async fn what_a_transform_writes_down_is_kept(probe: &Probe) {
    let writes = json!([
        {"metadata_set": {"key": "before", "value": "1"}},
        {"pass_chunks": {"count": 1}},
        {"metadata_set": {"key": "k", "value": "of the body"}},
        {"annotate": {"key": "team", "value": "a"}},
        {"drop": {}},
        {"metadata_set": {"key": "k", "value": "of its end"}},
    ]);
    let note = |key: &str| json!({"metadata_get": {"policy": "first", "key": key}});
    let reads = json!([note("before"), note("k"), {"report": {"to": "answer"}}]);
    let annotations = [Annotation {
        policy: "first".into(),
        key: "team".into(),
        value: "a".into(),
    }];
    for stage in WITH_BODY {
        let first = probe.unit("first", &json!({body_key(stage): writes}));
        // As a proxy does it: the notebook is the request's.
        let given = Given::any();
        let notebook = given.subject.notebook.clone();
        let chunks = ["ab", "c"].map(|chunk| Feed::Data(chunk.into()));
        let passed = pass(&first, stage, given, chunks.into()).await;
        assert_eq!(passed.end, Ok(None), "{stage}");
        assert_eq!(notebook.annotations(), annotations, "{stage}");
        // It is there for the policy's next call, and for those of others.
        for name in ["first", "second"] {
            let mut given = Given::any();
            given.subject.notebook = notebook.clone();
            let reader = probe.unit(name, &json!({"post_response": reads}));
            let became = run(&reader, Stage::PostResponse, given).await;
            let results = json!(["1", "of its end"]);
            assert_eq!(became.report()["results"], results, "{stage}, {name}");
        }
        assert_eq!(notebook.annotations(), annotations, "{stage}");
    }
}

pub async fn what_others_note_is_seen_while_a_body_passes(probe: &Probe) {
    let read = |policy: &str| json!({"write_metadata": {"policy": policy, "key": "k"}});
    let note = |value: &str| json!({"metadata_set": {"key": "k", "value": value}});
    for stage in WITH_BODY {
        let body = [
            note("1"),
            json!({"pass_chunks": {"count": 1}}),
            read("other"),
            note("3"),
        ];
        let unit = probe.unit("probe", &json!({body_key(stage): body}));
        let given = Given::any();
        let notebook = given.subject.notebook.clone();
        let mut transform = transform(&unit, stage, given).await;
        let mut writes = Vec::new();
        let mut chunks = ["ab", "c"].into_iter();
        loop {
            match step(&mut transform).await.expect("it goes on") {
                Step::Wants if writes.is_empty() => {
                    // Another policy is called while this one waits for the body.
                    let actions = json!([
                        {"metadata_get": {"policy": "probe", "key": "k"}},
                        note("2"),
                        {"report": {"to": "answer"}},
                    ]);
                    let other = probe.unit("other", &json!({"post_response": actions}));
                    let mut meanwhile = Given::any();
                    meanwhile.subject.notebook = notebook.clone();
                    let became = run(&other, Stage::PostResponse, meanwhile).await;
                    assert_eq!(became.report()["results"], json!(["1", true]), "{stage}");
                    transform.feed(Feed::Data(chunks.next().unwrap().into()));
                }
                Step::Wants => {
                    transform.feed(
                        chunks
                            .next()
                            .map_or(Feed::End, |chunk| Feed::Data(chunk.into())),
                    );
                }
                Step::Data(bytes) => writes.push(bytes),
                Step::End(_) => break,
            }
        }
        assert_eq!(writes, ["ab", "2", "c"], "{stage}");
        assert_eq!(notebook.get("probe", "k").unwrap(), b"3", "{stage}");
    }
}

pub async fn trailers_pass_and_are_changed(probe: &Probe) {
    let actions = json!([
        // They come behind the body.
        {"report": {}},
        {"drop": {}},
        {"report": {}},
        {"set_trailer": {"name": "x-more", "value": "8"}},
    ]);
    for stage in WITH_BODY {
        let unit = probe.unit("probe", &json!({body_key(stage): actions}));
        let chunks = vec![Feed::Data("ab".into()), Feed::Trailers(trailers())];
        let passed = pass(&unit, stage, Given::any(), chunks).await;
        let report = |at: usize| -> Value { serde_json::from_slice(&passed.writes[at]).unwrap() };
        assert_eq!(report(0)["trailers"], json!(null), "{stage}");
        assert_eq!(report(1)["trailers"], json!([["x-sum", "7"]]), "{stage}");
        let mut expected = trailers();
        expected.insert("x-more", HeaderValue::from_static("8"));
        assert_eq!(passed.end, Ok(Some(expected)), "{stage}");
        // Where there are none, none can be set.
        let passed = pass(&unit, stage, Given::any(), vec![Feed::Data("ab".into())]).await;
        assert_eq!(passed.end, Ok(None), "{stage}");
        // They pass by a policy that does not look at them.
        let unit = probe.unit("probe", &json!({}));
        let passed = pass(&unit, stage, Given::any(), vec![Feed::Trailers(trailers())]).await;
        assert_eq!(passed.end, Ok(Some(trailers())), "{stage}");
    }
}

pub async fn a_transform_that_fails_cuts_the_body(probe: &Probe) {
    let actions = json!([{"pass_chunks": {"count": 1}}, {"trap": {}}]);
    for stage in WITH_BODY {
        let passed = passes(probe, stage, &actions).await;
        assert_eq!(passed.text(), "ab", "{stage}");
        let failure = passed.end.expect_err("it fails");
        assert_eq!(failure.cause(), "trap", "{stage}: {failure}");
    }
}
