//! Components and requests for tests.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use fleetway_policy_runtime::{
    Bounds, Client, Facts, Grant, Limits, Notebook, Options, Program, Protocol, Runtime, Shared,
    Subject, Unit,
};
use http::Request;
use serde_json::Value;
use tokio::sync::OnceCell;

/// Bounds for what is not about them: tests run without optimizations, several at once.
pub const PATIENT: Limits = Limits {
    timeout: Duration::from_secs(10),
    memory: 64 << 20,
    fuel: None,
};

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

/// Where the components that are committed are.
pub fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/policies")
}

/// Where the components are that tests run: those that are committed, unless `FLEETWAY_TEST_POLICIES`
/// names another folder, by its full path, as `make policies-check` does.
pub fn folder() -> PathBuf {
    env::var_os("FLEETWAY_TEST_POLICIES").map_or_else(committed, PathBuf::from)
}

/// The bytes of a component.
pub fn bytes(name: &str) -> Vec<u8> {
    let file = folder().join(format!("{name}.wasm"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether a component is there. Those in languages other than Rust are not committed, as they bring
/// their interpreters along; what `make policies-languages` has not built is left out of tests.
pub fn is_built(name: &str) -> bool {
    let built = folder().join(format!("{name}.wasm")).exists();
    if !built {
        println!("{name} is not built: left out");
    }
    built
}

/// A program that is compiled once for all tests, off the test's thread; none if it is not built.
pub async fn program(name: &str) -> Option<Arc<Program>> {
    static PROGRAMS: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Program>>>>> =
        Mutex::new(BTreeMap::new());
    if !is_built(name) {
        return None;
    }
    let programs = PROGRAMS.lock();
    let cell = programs
        .unwrap()
        .entry(name.to_owned())
        .or_default()
        .clone();
    let compiled = cell.get_or_init(async || {
        let wasm = bytes(name);
        let compile = move || Program::compile(runtime(), &wasm).expect("a policy");
        let compiled = tokio::task::spawn_blocking(compile).await;
        compiled.expect("it compiles")
    });
    Some(compiled.await.clone())
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
        hops: 0,
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
