//! Components that misbehave: each call ends in its own failure, within its bounds, and the next is
//! as if nothing had been.

use std::{sync::Arc, time::Duration};

use fleetway_policy_runtime::{
    Buffered, Decision, Failure, Feed, Limits, Options, Program, Runtime, Stage, Step, Unit,
    Upstream,
};
use http::Request;
use serde_json::json;

use crate::support::{bytes, hostile, probe, runtime, subject, unit, unit_with};

fn request() -> http::request::Builder {
    Request::get("/a").header("host", "example.com")
}

async fn pre_route(unit: &Arc<Unit>) -> Result<Decision, Failure> {
    let mut call = unit
        .start(subject(request()))
        .await
        .map_err(|(_, failure)| failure)?;
    call.pre_route().await
}

/// A policy that behaves, after each that does not.
async fn others_are_served() {
    let unit = unit(
        probe(),
        "good",
        &json!({"pre_route": [{"set_header": {"name": "x-a", "value": "1"}}]}),
    );
    assert_eq!(pre_route(&unit).await, Ok(Decision::Continue));
}

#[tokio::test]
async fn what_a_call_may_not_do_ends_it() {
    let quick = Limits {
        timeout: Duration::from_millis(20),
        memory: 8 << 20,
        fuel: None,
    };
    for (attack, cause) in [
        ("infinite_loop", "timeout"),
        ("memory_bomb", "memory"),
        ("stack_overflow", "trap"),
        ("handle_flood", "misuse"),
        ("trap", "trap"),
        ("panic", "trap"),
        ("random_flood", "misuse"),
    ] {
        let unit = unit_with(hostile(), attack, &json!({"pre_route": attack}), quick);
        let failure = pre_route(&unit).await.expect_err(attack);
        assert_eq!(failure.cause(), cause, "{attack}: {failure}");
        others_are_served().await;
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_is_left_out() {
    let long = Limits {
        timeout: Duration::from_secs(10),
        memory: 64 << 20,
        fuel: None,
    };
    for attack in [
        "many_headers",
        "giant_header",
        "log_flood",
        "metric_flood",
        "metadata_flood",
        "annotate_flood",
    ] {
        let unit = unit_with(hostile(), attack, &json!({"pre_route": attack}), long);
        let call = unit.start(subject(request())).await;
        let mut call = call.map_err(|(_, failure)| failure).unwrap();
        let went = call.pre_route().await;
        let subject = call.into_subject();
        let fields = &subject.request.headers;
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        assert!(fields.len() <= 100 && bytes <= 60_000, "{attack}: {went:?}");
        assert!(subject.notebook.annotations().len() <= 16, "{attack}");
        let (series, left_out) = unit.shared.figures();
        assert!(series.len() <= 100, "{attack}");
        assert_eq!(left_out > 0, attack == "metric_flood", "{attack}: {went:?}");
        others_are_served().await;
    }
}

#[tokio::test]
async fn answers_without_measure_are_none() {
    for attack in ["giant_answer", "many_answer_headers"] {
        let unit = unit(hostile(), attack, &json!({"pre_route": attack}));
        let failure = pre_route(&unit).await.expect_err(attack);
        assert!(
            matches!(
                failure,
                Failure::Answer(_) | Failure::Trap(_) | Failure::Memory | Failure::Timeout
            ),
            "{attack}: {failure:?}"
        );
        others_are_served().await;
    }
}

/// Has a body of two chunks pass; gives what came out, and how it ended.
async fn pass(unit: &Arc<Unit>, most: usize) -> (Vec<u8>, Result<(), Failure>) {
    let mut call = unit
        .start(subject(request()))
        .await
        .map_err(|(_, failure)| failure)
        .unwrap();
    let upstream = Box::new(Upstream::default());
    assert_eq!(
        call.pre_upstream(upstream, None::<Buffered>).await,
        Ok(Decision::Continue)
    );
    let mut transform = call.into_transform(Stage::PreUpstream);
    let mut chunks = vec!["cd", "ab"];
    let mut out = Vec::new();
    while out.len() < most {
        match std::future::poll_fn(|cx| transform.poll_step(cx)).await {
            Ok(Step::Wants) => transform.feed(match chunks.pop() {
                Some(chunk) => Feed::Data(chunk.into()),
                None => Feed::End,
            }),
            Ok(Step::Data(bytes)) => out.extend_from_slice(&bytes),
            Ok(Step::End(_)) => return (out, Ok(())),
            Err(failure) => return (out, Err(failure)),
        }
    }
    (out, Ok(()))
}

#[tokio::test]
async fn bodies_are_contained_too() {
    for (attack, comes, cause) in [
        ("infinite_loop", Some(""), Some("timeout")),
        ("stack_overflow", Some(""), Some("trap")),
        ("trap", Some(""), Some("trap")),
        ("trap_halfway", Some("a"), Some("trap")),
        ("never_read", Some(""), None),
        ("hold_reading", Some(""), Some("timeout")),
        ("write_giant", Some(""), Some("misuse")),
        ("write_without_end", None, None),
        ("write_bytes", None, None),
    ] {
        let unit = unit(hostile(), attack, &json!({"request_body": attack}));
        let (out, end) = pass(&unit, 100_000).await;
        if let Some(comes) = comes {
            assert_eq!(out, comes.as_bytes(), "{attack}");
        } else {
            assert!(out.len() >= 100_000, "{attack}");
        }
        assert_eq!(
            end.as_ref().err().map(Failure::cause),
            cause,
            "{attack}: {end:?}"
        );
        others_are_served().await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_place_back() {
    let unit = unit(hostile(), "dropped", &json!({"pre_route": "infinite_loop"}));
    for _ in 0..200 {
        let called = pre_route(&unit);
        // It is dropped where it lets others have their turn.
        tokio::select! {
            biased;
            went = called => panic!("it ended: {went:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    others_are_served().await;
}

/// A component with one in it, with one in it, and so on.
fn nested(levels: usize) -> Vec<u8> {
    const HEAD: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    // Written from the inside, back to front.
    let mut reversed: Vec<u8> = HEAD.into_iter().rev().collect();
    for _ in 1..levels {
        let mut length = reversed.len();
        let mut leb = Vec::new();
        while length >= 0x80 {
            leb.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        leb.push(u8::try_from(length).expect("seven bits"));
        reversed.extend(leb.into_iter().rev());
        reversed.push(4);
        reversed.extend(HEAD.into_iter().rev());
    }
    reversed.reverse();
    reversed
}

#[test]
fn components_far_within_each_other_are_refused_before_anything_is_made_of_them() {
    let compiled = |levels| Program::compile(runtime(), &nested(levels)).map(drop);
    let error = compiled(16).expect_err("it has no stage").to_string();
    assert!(error.contains("exports no stage"), "{error}");
    for levels in [18, 20_000] {
        let error = compiled(levels).expect_err("too deep").to_string();
        assert!(error.contains("more than 16 deep"), "{error}");
    }
}

#[tokio::test]
async fn a_policy_that_waits_leaves_room_for_others() {
    let runtime = Runtime::new(Options::default()).expect("a runtime");
    let compile = |name| Program::compile(&runtime, &bytes(name)).expect("a policy");
    let (program, config) = (compile("header-rules"), json!({"request": []}));
    let (slow, other) = (
        unit(program.clone(), "slow", &config),
        unit(program, "other", &config),
    );
    let mut calls = Vec::new();
    for _ in 0..500 {
        let started = slow.start(subject(Request::get("/"))).await;
        calls.push(started.map_err(|(_, failure)| failure).expect("a place"));
    }
    let more = slow.start(subject(Request::get("/"))).await;
    assert_eq!(more.err().map(|(_, failure)| failure), Some(Failure::Busy));
    assert!(other.start(subject(Request::get("/"))).await.is_ok());
    calls.pop();
    assert!(slow.start(subject(Request::get("/"))).await.is_ok());
}
