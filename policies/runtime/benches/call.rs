//! What a call of a policy costs, at each stage: one that does nothing, one that changes fields, one
//! that is given a body of 10 KB and signs it; and what it costs to compile one.
//!
//! A call is all there is to it: an instance, the guest's own reading of its configuration, what it
//! does, and the end of the instance.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot begin cannot go on"
)]

mod common;

use std::sync::Arc;

use common::{HEADERS, SIGN, bytes, subject, unit};
use divan::Bencher;
use fleetway_policy_runtime::{
    Buffered, Exchange, Options, Program, Runtime, Stage, Unit, Upstream,
};
use http::Response;

fn main() {
    divan::main();
}

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
    run(
        bencher,
        &unit("hostile", "{}", Options::default()),
        stage,
        0,
    );
}

#[divan::bench(args = [Stage::PreRoute, Stage::PostResponse])]
fn headers(bencher: Bencher<'_, '_>, stage: Stage) {
    run(
        bencher,
        &unit("header-rules", HEADERS, Options::default()),
        stage,
        0,
    );
}

/// The same where fuel is counted.
#[divan::bench(args = [Stage::PreRoute])]
fn headers_with_fuel(bencher: Bencher<'_, '_>, stage: Stage) {
    let options = Options {
        fuel: true,
        ..Options::default()
    };
    run(bencher, &unit("header-rules", HEADERS, options), stage, 0);
}

#[divan::bench]
fn body_of_10_kb_signed(bencher: Bencher<'_, '_>) {
    run(
        bencher,
        &unit("sign-request", SIGN, Options::default()),
        Stage::PreUpstream,
        10_240,
    );
}

#[divan::bench]
fn body_of_10_kb_given(bencher: Bencher<'_, '_>) {
    run(
        bencher,
        &unit("hostile", "{}", Options::default()),
        Stage::PreUpstream,
        10_240,
    );
}

#[divan::bench(args = ["header-rules", "probe"], sample_count = 5, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, name: &str) {
    let runtime = Runtime::new(Options::default()).unwrap();
    let bytes = bytes(name);
    bencher.bench_local(|| Program::compile(&runtime, &bytes).unwrap());
}
