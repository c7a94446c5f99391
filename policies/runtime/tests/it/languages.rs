//! Policies in Python and JavaScript: the same ABI.

use std::{sync::Arc, time::Instant};

use fleetway_policy_runtime::{
    Decision, Exchange, Failure, Limits, Options, Outcome, Program, Runtime, Unit,
};
use http::{Request, Response, StatusCode, request, response};
use serde_json::{Value, json};

use crate::support::{PATIENT, bytes, is_built, program, subject, unit_with};

async fn tenant_limit() -> Option<Arc<Program>> {
    program("languages/tenant-limit").await
}

async fn security_headers() -> Option<Arc<Program>> {
    program("languages/security-headers").await
}

/// The fields of a configuration a policy finds fault with.
async fn faults(program: &Arc<Program>, config: Value) -> Vec<String> {
    let tried = program.try_out("p", &config.to_string(), PATIENT).await;
    let faults = tried.expect("it starts");
    assert!(
        faults.iter().all(|fault| !fault.message.is_empty()),
        "{faults:?}"
    );
    faults.into_iter().map(|fault| fault.path).collect()
}

async fn pre_route(unit: &Arc<Unit>, request: request::Builder) -> Result<Decision, Failure> {
    let started = unit.start(subject(request)).await;
    let mut call = started.map_err(|(_, failure)| failure)?;
    call.pre_route().await
}

async fn post_response(
    unit: &Arc<Unit>,
    request: request::Builder,
    response: response::Builder,
) -> Result<response::Parts, Failure> {
    let started = unit.start(subject(request)).await;
    let mut call = started.map_err(|(_, failure)| failure)?;
    let (head, ()) = response.body(()).expect("a response").into_parts();
    let exchange = Exchange::default();
    let outcome = call.post_response(Box::new(head), &exchange, None).await?;
    assert_eq!(outcome, Outcome::Continue);
    Ok(*call.take_response().expect("the response is given back"))
}

#[tokio::test]
async fn python_counts_the_requests_of_each_tenant() {
    let Some(program) = tenant_limit().await else {
        return;
    };
    let config = json!({"header": "x-tenant", "limit": 3, "window_seconds": 86_400});
    let unit = unit_with(program, "limit", &config, PATIENT);
    let of = |tenant: &str| Request::get("/a").header("x-tenant", tenant);
    for _ in 0..3 {
        assert_eq!(pre_route(&unit, of("one")).await, Ok(Decision::Continue));
    }
    // An instance is made for each call, so what they have counted is in the store they share.
    let Ok(Decision::Respond(answer)) = pre_route(&unit, of("one")).await else {
        panic!("it is let through");
    };
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    assert_eq!(pre_route(&unit, of("two")).await, Ok(Decision::Continue));
    let Ok(Decision::Respond(answer)) = pre_route(&unit, Request::get("/a")).await else {
        panic!("it is let through");
    };
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(&answer.body[..], b"x-tenant has to name a tenant\n");
}

#[tokio::test]
async fn python_points_at_what_is_wrong() {
    let Some(program) = tenant_limit().await else {
        return;
    };
    let none: [&str; 0] = [];
    assert_eq!(
        faults(&program, json!({"header": "x-tenant", "limit": 3})).await,
        none
    );
    assert_eq!(faults(&program, json!({})).await, ["/header", "/limit"]);
    let config = json!({"header": "a b", "limit": true, "window_seconds": 0, "a/b": 1});
    assert_eq!(
        faults(&program, config).await,
        ["/a~1b", "/header", "/limit", "/window_seconds"]
    );
    assert_eq!(faults(&program, json!([])).await, [""]);
}

#[tokio::test]
async fn javascript_sets_fields_where_there_are_none() {
    let Some(program) = security_headers().await else {
        return;
    };
    let config = json!({"frame": "DENY", "csp": "default-src 'self'",
        "hsts": {"max_age": 60, "subdomains": true}});
    let unit = unit_with(program, "headers", &config, PATIENT);
    let bare = Response::builder().status(200);
    let head = post_response(&unit, Request::get("/a"), bare)
        .await
        .unwrap();
    assert_eq!(head.headers["x-frame-options"], "DENY");
    assert_eq!(
        head.headers["content-security-policy"],
        "default-src 'self'"
    );
    assert_eq!(head.headers["x-content-type-options"], "nosniff");
    // This client came in clear text.
    assert!(!head.headers.contains_key("strict-transport-security"));
    let has_one = Response::builder().header("x-frame-options", "SAMEORIGIN");
    let head = post_response(&unit, Request::get("/a"), has_one)
        .await
        .unwrap();
    assert_eq!(head.headers["x-frame-options"], "SAMEORIGIN");
}

#[tokio::test]
async fn javascript_points_at_what_is_wrong() {
    let Some(program) = security_headers().await else {
        return;
    };
    let none: [&str; 0] = [];
    assert_eq!(faults(&program, json!({})).await, none);
    let config =
        json!({"frame": "ALLOW", "csp": "a\nb", "hsts": {"max_age": -1, "forever": true}, "x": 1});
    assert_eq!(
        faults(&program, config).await,
        ["/x", "/frame", "/csp", "/hsts/forever", "/hsts/max_age"]
    );
    assert_eq!(faults(&program, json!({"hsts": 60})).await, ["/hsts"]);
}

#[tokio::test]
async fn nothing_of_a_call_is_there_in_the_next() {
    let Some(python) = tenant_limit().await else {
        return;
    };
    let config = json!({"header": "x-tenant", "limit": 1, "window_seconds": 86_400});
    let of = || Request::get("/a").header("x-tenant", "one");
    // The store is the policy's: another policy of the same program counts for itself.
    for name in ["first", "second"] {
        let unit = unit_with(python.clone(), name, &config, PATIENT);
        assert_eq!(pre_route(&unit, of()).await, Ok(Decision::Continue));
        let refused = pre_route(&unit, of()).await;
        assert!(matches!(refused, Ok(Decision::Respond(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_interpreter_is_held_to_its_bounds_as_anyone_is() {
    let Some(program) = tenant_limit().await else {
        return;
    };
    let config = json!({"header": "x-tenant", "limit": 1});
    let small = Limits {
        memory: 1 << 20,
        ..PATIENT
    };
    let unit = unit_with(program.clone(), "small", &config, small);
    assert_eq!(
        pre_route(&unit, Request::get("/")).await,
        Err(Failure::Memory)
    );
    let unit = unit_with(program, "large", &config, PATIENT);
    let of = Request::get("/").header("x-tenant", "one");
    assert_eq!(pre_route(&unit, of).await, Ok(Decision::Continue));
}

/// Prints what each costs: `cargo test --release … languages -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement for docs/policies/languages.md: it finds fault with nothing"]
async fn what_they_cost() {
    let cases = [
        ("header-rules", json!({"request": []})),
        (
            "languages/tenant-limit",
            json!({"header": "x-tenant", "limit": 1_000_000_000}),
        ),
        ("languages/security-headers", json!({"frame": "DENY"})),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, config) in cases {
        if !is_built(name) {
            continue;
        }
        let wasm = bytes(name);
        let start = || {
            let options = Options {
                calls: 4,
                cache: Some(folder.path().to_owned()),
                fuel: false,
            };
            Runtime::new(options).expect("a runtime")
        };
        let began = Instant::now();
        let compiled = Program::compile(&start(), &wasm).map(drop);
        let compile = began.elapsed();
        println!("{name}: {} bytes, compiled in {compile:?}", wasm.len());
        if let Err(error) = compiled {
            println!("  {error}");
            continue;
        }
        let runtime = start();
        let began = Instant::now();
        let program = Program::compile(&runtime, &wasm).unwrap();
        println!("  read back in {:?}", began.elapsed());
        let least = |memory: usize| Limits {
            memory: memory << 20,
            ..PATIENT
        };
        for megabytes in [1, 2, 4, 8, 16, 32, 64, 128] {
            let tried = program
                .try_out("p", &config.to_string(), least(megabytes))
                .await;
            if matches!(&tried, Ok(faults) if faults.is_empty()) {
                println!("  needs at most {megabytes} MiB");
                break;
            }
            println!("  {megabytes} MiB: {tried:?}");
        }
        let unit = unit_with(program.clone(), "cost", &config, PATIENT);
        let of = || Request::get("/a").header("x-tenant", "one");
        let is_response = name.contains("security");
        let mut took = Vec::new();
        for _ in 0..300 {
            let began = Instant::now();
            if is_response {
                post_response(&unit, of(), Response::builder())
                    .await
                    .unwrap();
            } else {
                pre_route(&unit, of()).await.unwrap();
            }
            took.push(began.elapsed());
        }
        took.sort();
        println!("  a call: {:?}, of 100 one {:?}", took[150], took[297]);
    }
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        let length = entry.metadata().unwrap().len();
        println!("{}: {length} bytes", entry.path().display());
    }
}
