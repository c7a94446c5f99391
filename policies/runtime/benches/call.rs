//! What a call of a policy costs, at each stage: one that does nothing, one that changes fields, one
//! that is given a body of 10 KB and signs it; and what it costs to compile one.
//!
//! A call is all there is to it: an instance, the guest's own reading of its configuration, what it
//! does, and the end of the instance.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot begin cannot go on"
)]

use std::{fs, sync::Arc, time::SystemTime};

use divan::Bencher;
use fleetway_policy_runtime::{
    Bounds, Buffered, Client, Exchange, Facts, Grant, Limits, Notebook, Options, Program, Protocol,
    Runtime, Shared, Stage, Subject, Unit, Upstream,
};
use http::{Request, Response};

fn main() {
    divan::main();
}

fn bytes(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/policies");
    fs::read(format!("{folder}/{name}.wasm")).unwrap()
}

fn unit(name: &str, config: &str) -> Arc<Unit> {
    let runtime = Runtime::new(Options::default()).unwrap();
    Arc::new(Unit {
        name: name.into(),
        program: Program::compile(&runtime, &bytes(name)).unwrap(),
        config: config.into(),
        limits: Limits::default(),
        grant: Grant::default(),
        shared: Arc::new(Shared::new(name)),
    })
}

fn subject() -> Box<Subject> {
    let request = Request::post("/users/7?full=1")
        .header("host", "example.com")
        .header("user-agent", "curl/8.5.0")
        .header("accept", "*/*")
        .header("authorization", "Bearer abc")
        .header("x-debug", "1");
    Box::new(Subject {
        request: request.body(()).unwrap().into_parts().0,
        facts: Arc::new(Facts {
            id: "11111111-2222-4333-8444-555555555555".into(),
            received: SystemTime::now(),
            protocol: Protocol::Http11,
            client: Arc::new(Client {
                address: ([192, 0, 2, 7], 4711).into(),
                listener: "web".into(),
                connection: 1,
                tls: None,
            }),
            paths: Arc::new(|path| Ok(path.to_owned())),
            bounds: Bounds {
                fields: 100,
                bytes: 65_536,
            },
            outbound: None,
        }),
        notebook: Notebook::default(),
    })
}

const HEADERS: &str = r#"{
    "request": [{"set": {"name": "x-team", "value": "edge"}}, {"remove": {"name": "x-debug"}}],
    "response": [{"add": {"name": "vary", "value": "accept"}}, {"remove": {"name": "server"}}]
}"#;
const SIGN: &str = r#"{"key": "c2VjcmV0IG9mIDMyIGJ5dGVzIG9yIG1vcmUuLi4uLi4=", "key_id": "1"}"#;

/// Runs a unit at a stage over and over.
fn run(bencher: Bencher<'_, '_>, unit: &Arc<Unit>, stage: Stage, body: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let body: bytes::Bytes = vec![b'x'; body].into();
    bencher.with_inputs(subject).bench_local_values(|subject| {
        runtime.block_on(async {
            let mut call = unit
                .start(subject)
                .await
                .map_err(|(_, failure)| failure)
                .unwrap();
            let buffered = (!body.is_empty()).then(|| Buffered {
                bytes: body.clone(),
                trailers: None,
                replaced: false,
                max: 1 << 20,
            });
            match stage {
                Stage::PreRoute => drop(call.pre_route().await.unwrap()),
                Stage::PreUpstream => {
                    drop(
                        call.pre_upstream(Box::<Upstream>::default(), buffered)
                            .await
                            .unwrap(),
                    );
                }
                Stage::PostResponse => {
                    let response = Response::builder()
                        .header("server", "nginx")
                        .body(())
                        .unwrap();
                    let parts = Box::new(response.into_parts().0);
                    let exchange = Exchange::default();
                    drop(
                        call.post_response(parts, &exchange, buffered)
                            .await
                            .unwrap(),
                    );
                }
            }
            call.into_subject()
        })
    });
}

#[divan::bench(args = Stage::ALL)]
fn nothing(bencher: Bencher<'_, '_>, stage: Stage) {
    run(bencher, &unit("hostile", "{}"), stage, 0);
}

#[divan::bench(args = [Stage::PreRoute, Stage::PostResponse])]
fn headers(bencher: Bencher<'_, '_>, stage: Stage) {
    run(bencher, &unit("header-rules", HEADERS), stage, 0);
}

#[divan::bench]
fn body_of_10_kb_signed(bencher: Bencher<'_, '_>) {
    run(
        bencher,
        &unit("sign-request", SIGN),
        Stage::PreUpstream,
        10_240,
    );
}

#[divan::bench]
fn body_of_10_kb_given(bencher: Bencher<'_, '_>) {
    run(bencher, &unit("hostile", "{}"), Stage::PreUpstream, 10_240);
}

#[divan::bench(args = ["header-rules", "probe"], sample_count = 5, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, name: &str) {
    let runtime = Runtime::new(Options::default()).unwrap();
    let bytes = bytes(name);
    bencher.bench_local(|| Program::compile(&runtime, &bytes).unwrap());
}
