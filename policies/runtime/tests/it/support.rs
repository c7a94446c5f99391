//! Components and requests for tests.

use std::{
    fs,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use fleetway_policy_runtime::{
    Bounds, Client, Facts, Grant, Limits, Notebook, Options, Program, Protocol, Runtime, Shared,
    Subject, Unit,
};
use http::Request;
use serde_json::Value;

/// The runtime of all tests.
pub fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let options = Options {
            calls: 64,
            ..Options::default()
        };
        Runtime::new(options).expect("a runtime")
    })
}

/// The bytes of a component in `testdata/policies`.
pub fn bytes(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/policies");
    fs::read(format!("{folder}/{name}.wasm")).expect("a component")
}

/// The component that does what its configuration says.
pub fn probe() -> Arc<Program> {
    static PROBE: OnceLock<Arc<Program>> = OnceLock::new();
    let compile = || Program::compile(runtime(), &bytes("probe")).expect("a policy");
    PROBE.get_or_init(compile).clone()
}

/// The component that misbehaves as its configuration says.
pub fn hostile() -> Arc<Program> {
    static HOSTILE: OnceLock<Arc<Program>> = OnceLock::new();
    let compile = || Program::compile(runtime(), &bytes("hostile")).expect("a policy");
    HOSTILE.get_or_init(compile).clone()
}

/// A policy called `name`.
pub fn unit(program: Arc<Program>, name: &str, config: &Value) -> Arc<Unit> {
    unit_with(program, name, config, Limits::default())
}

/// A policy with bounds of its own.
pub fn unit_with(program: Arc<Program>, name: &str, config: &Value, limits: Limits) -> Arc<Unit> {
    Arc::new(Unit {
        name: name.into(),
        program,
        config: config.to_string().into(),
        limits,
        grant: Grant::default(),
        shared: Arc::new(Shared::new(name)),
    })
}

/// What is known of requests here.
pub fn facts() -> Facts {
    Facts {
        id: "11111111-2222-4333-8444-555555555555".into(),
        received: SystemTime::UNIX_EPOCH,
        protocol: Protocol::Http11,
        client: Arc::new(Client {
            address: "192.0.2.7:4711".parse().expect("an address"),
            listener: "web".into(),
            connection: 42,
            tls: None,
        }),
        paths: Arc::new(|path| match path.contains("..") {
            true => Err("leads above its root".into()),
            false => Ok(path.to_owned()),
        }),
        bounds: Bounds {
            fields: 100,
            bytes: 60_000,
        },
        outbound: None,
    }
}

/// A request under policies.
pub fn subject(request: http::request::Builder) -> Box<Subject> {
    let request: Request<()> = request.body(()).expect("a request");
    Box::new(Subject {
        request: request.into_parts().0,
        facts: Arc::new(facts()),
        notebook: Notebook::default(),
    })
}
