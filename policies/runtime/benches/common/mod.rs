//! Components and requests for the benchmarks.
#![allow(dead_code, reason = "each benchmark uses some of it")]

use std::{fs, sync::Arc, time::SystemTime};

use fleetway_policy_runtime::{
    Bounds, Client, Facts, Grant, Limits, Notebook, Options, Program, Protocol, Runtime, Shared,
    Subject, Unit,
};
use http::Request;

/// The bytes of a component in `testdata/policies`.
pub fn bytes(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/policies");
    fs::read(format!("{folder}/{name}.wasm")).unwrap()
}

/// A policy of a component in `testdata/policies`.
pub fn unit(name: &str, config: &str, options: Options) -> Arc<Unit> {
    let runtime = Runtime::new(options).unwrap();
    unit_of(
        Program::compile(&runtime, &bytes(name)).unwrap(),
        name,
        config,
    )
}

/// A policy that runs a program.
pub fn unit_of(program: Arc<Program>, name: &str, config: &str) -> Arc<Unit> {
    Arc::new(Unit {
        name: name.into(),
        program,
        config: config.into(),
        limits: Limits::default(),
        grant: Grant::default(),
        shared: Arc::new(Shared::new(name)),
    })
}

/// A request as clients send it.
pub fn subject() -> Box<Subject> {
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
            hops: 0,
            outbound: None,
        }),
        notebook: Notebook::default(),
    })
}

/// What the policy that changes fields is told.
pub const HEADERS: &str = r#"{
    "request": [{"set": {"name": "x-team", "value": "edge"}}, {"remove": {"name": "x-debug"}}],
    "response": [{"add": {"name": "vary", "value": "accept"}}, {"remove": {"name": "server"}}]
}"#;
/// What the policy that signs bodies is told.
pub const SIGN: &str = r#"{"key": "c2VjcmV0IG9mIDMyIGJ5dGVzIG9yIG1vcmUuLi4uLi4=", "key_id": "1"}"#;
