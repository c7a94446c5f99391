//! Policies without a server: what the program says of components, what it runs, what it begins.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cli::{Run, fleetway},
    documents::testdata,
};

fn component(name: &str) -> String {
    let file = testdata().join(format!("policies/{name}.wasm"));
    file.to_str().unwrap().to_owned()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn at(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

#[track_caller]
fn done(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// Tries the probe out, which does what its configuration says; gives what is printed as JSON.
fn probe(config: &Value, request: &str, more: &[&str]) -> (i32, Value) {
    let config = config.to_string();
    let files = folder(&[("c.json", &config), ("req.http", request)]);
    let (file, c, req) = (component("probe"), at(&files, "c.json"), at(&files, "req.http"));
    let mut args = vec!["policy", "test", &file, "--request", &req, "--config", &c, "-o", "json"];
    args.extend(more);
    let run = fleetway(&args);
    let printed = serde_json::from_str(&run.stdout);
    (run.code, printed.unwrap_or_else(|_| panic!("{run:?}")))
}

const GET: &str = "GET /a?b=c HTTP/1.1\nhost: example.com\nx-old: 1\n\n";
const POST: &str = "POST /a HTTP/1.1\nhost: example.com\n\nsome text";

#[test]
fn a_component_is_described() {
    let file = component("redact-json");
    let facts = done(&fleetway(&["policy", "inspect", &file, "-o", "json"]));
    let digests = fs::read_to_string(testdata().join("policies/DIGESTS")).unwrap();
    let digest = facts["digest"].as_str().unwrap();
    assert!(digests.contains(&format!("{digest}  redact-json.wasm")));
    assert_eq!(facts["size"], fs::metadata(&file).unwrap().len());
    assert_eq!(facts["abi"], "1.0.0");
    assert_eq!(facts["stages"], json!(["pre-upstream", "post-response"]));
    assert_eq!(facts["bodies"], json!(["response-body"]));
    assert_eq!(facts["validates"], true);
    let imports = facts["imports"].to_string();
    assert!(imports.contains("fleetway:policy/types@1.0.0"), "{imports}");
    let table = fleetway(&["policy", "inspect", &file]);
    says(
        &table.stdout,
        &[
            &format!("digest   {digest}\n"),
            "abi      fleetway:policy@1.0.0\n",
            "stages   pre-upstream, post-response\n",
            "config   looked at by the policy\n",
            "imports  fleetway:policy/",
        ],
    );
}

#[test]
fn what_is_no_policy_is_refused_with_the_remedy() {
    let files = folder(&[("text.wasm", "hello there")]);
    let write = |name: &str, bytes: &[u8]| fs::write(files.path().join(name), bytes).unwrap();
    write("module.wasm", b"\0asm\x01\0\0\0");
    write("empty.wasm", b"\0asm\x0d\0\x01\0");
    write("broken.wasm", b"\0asm\x0d\0\x01\0\xff\xff");
    for (name, said) in [
        ("text.wasm", "text.wasm: is no WebAssembly"),
        ("module.wasm", "module.wasm: is a core module: make a component of it"),
        ("empty.wasm", "empty.wasm: it exports no stage: a policy exports"),
        ("broken.wasm", "broken.wasm: this is no component"),
    ] {
        let run = fleetway(&["policy", "inspect", &at(&files, name)]);
        assert_eq!(run.code, 2, "{run:?}");
        says(&run.stderr, &[said]);
    }
    let run = fleetway(&["policy", "inspect", &at(&files, "gone.wasm")]);
    assert_eq!(run.code, 1, "{run:?}");
    says(&run.stderr, &["cannot read", "gone.wasm"]);
}

#[test]
fn decisions_changes_and_the_rest_are_told_stage_by_stage() {
    let config = json!({
        "pre_route": [
            {"set_header": {"name": "x-a", "value": "1"}},
            {"remove_header": {"name": "x-old"}},
            {"log": {"level": "warn", "message": "seen"}},
            {"set_metadata": {"key": "k", "value": "v"}},
            {"annotate": {"key": "who", "value": "me"}},
            {"count": {"name": "seen_total"}},
        ],
        "post_response": [{"set_status": 418}],
    });
    let (code, told) = probe(&config, GET, &[]);
    assert_eq!(code, 0, "{told:#}");
    assert_eq!(told["policy"], "probe");
    let stages = told["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["pre-route", "pre-upstream", "post-response"]);
    let first = &stages[0];
    assert_eq!(first["decision"], "continue");
    says(first["changes"].as_str().unwrap(), &["\n-x-old: 1\n", "\n+x-a: 1\n"]);
    assert_eq!(first["log"], json!([{"level": "warn", "message": "seen"}]));
    assert_eq!(first["metadata"], json!([{"key": "k", "value": "v"}]));
    assert_eq!(first["access_log"], json!([{"key": "who", "value": "me"}]));
    assert!(first["memory"].as_u64().unwrap() >= 65_536, "{first:#}");
    assert!(first["run_us"].is_u64());
    assert_eq!(stages[1]["changes"], "");
    assert_eq!(stages[1]["log"], json!([]));
    assert_eq!(stages[2]["message"]["status"], 418);
    assert_eq!(told["metrics"][0]["name"], "seen_total");
    assert_eq!(told["metrics"][0]["value"], 1.0);
}
