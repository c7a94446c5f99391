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
    let (file, c, req) = (
        component("probe"),
        at(&files, "c.json"),
        at(&files, "req.http"),
    );
    let mut args = vec![
        "policy",
        "test",
        &file,
        "--request",
        &req,
        "--config",
        &c,
        "-o",
        "json",
    ];
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
        (
            "module.wasm",
            "module.wasm: is a core module: make a component of it",
        ),
        (
            "empty.wasm",
            "empty.wasm: it exports no stage: a policy exports",
        ),
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
            {"delete_header": {"name": "x-old"}},
            {"log": {"level": "warn", "message": "seen"}},
            {"metadata_set": {"key": "k", "value": "v"}},
            {"annotate": {"key": "who", "value": "me"}},
            {"increment": {"name": "seen_total", "labels": [["of", "a"]], "by": 2}},
        ],
        "post_response": [{"set_status": {"status": 418}}],
    });
    let (code, told) = probe(&config, GET, &[]);
    assert_eq!(code, 0, "{told:#}");
    assert_eq!(told["policy"], "probe");
    let stages = told["stages"].as_array().unwrap();
    let names: Vec<_> = stages
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pre-route", "pre-upstream", "post-response"]);
    let first = &stages[0];
    assert_eq!(first["decision"], "continue");
    says(
        first["changes"].as_str().unwrap(),
        &["\n-x-old: 1\n", "\n+x-a: 1\n"],
    );
    assert_eq!(first["log"], json!([{"level": "warn", "message": "seen"}]));
    assert_eq!(first["metadata"], json!([{"key": "k", "value": "v"}]));
    assert_eq!(first["access_log"], json!([{"key": "who", "value": "me"}]));
    assert!(first["memory"].as_u64().unwrap() >= 65_536, "{first:#}");
    assert!(first["run_us"].is_u64());
    assert_eq!(stages[1]["changes"], "");
    assert_eq!(stages[1]["log"], json!([]));
    assert_eq!(stages[2]["message"]["status"], 418);
    assert_eq!(told["metrics"][0]["name"], "seen_total");
    assert_eq!(told["metrics"][0]["labels"], json!({"of": "a"}));
    assert_eq!(told["metrics"][0]["value"], 2.0);
}

#[test]
fn people_are_told_the_same_in_lines() {
    let config = r#"{"request": [{"set": {"name": "x-team", "value": "edge"}}],
        "response": [{"set": {"name": "x-a", "value": "1"}}]}"#;
    let files = folder(&[
        ("c.json", config),
        ("req.http", GET),
        ("resp.http", "HTTP/1.1 404 Not Found\r\n\r\nno such user\n"),
    ]);
    let (c, req, resp) = (
        at(&files, "c.json"),
        at(&files, "req.http"),
        at(&files, "resp.http"),
    );
    let file = component("header-rules");
    let args = [
        "policy",
        "test",
        &file,
        "--request",
        &req,
        "--config",
        &c,
        "--response",
        &resp,
    ];
    let run = fleetway(&args);
    assert_eq!((run.code, &*run.stderr), (0, ""), "{run:?}");
    says(
        &run.stdout,
        &[
            "pre-route: continue\n    @@ ",
            "\n    +x-team: edge\n",
            "\npost-response: continue\n    @@ ",
            "\n     HTTP/1.1 404 Not Found\n",
            "\n    +x-a: 1\n",
            "\n    time        ",
            " KiB\n",
        ],
    );
}

#[test]
fn an_answer_passes_the_stage_of_responses_and_no_other() {
    let config = json!({
        "pre_route": [{"respond": {"status": 403, "headers": [["x-a", "1"]], "body": "no"}}],
        "post_response": [{"upper_body": {}}],
    });
    let (code, told) = probe(&config, GET, &["--buffer"]);
    assert_eq!(code, 0, "{told:#}");
    let stages = &told["stages"];
    assert_eq!(stages[0]["decision"], "respond");
    assert_eq!(stages[0]["answer"]["status"], 403);
    assert_eq!(stages[0]["answer"]["body"], "no");
    assert_eq!(
        stages[1],
        json!({"stage": "pre-upstream", "decision": "not_run"})
    );
    assert_eq!(stages[2]["message"]["status"], 403);
    assert_eq!(stages[2]["message"]["body"], "NO");
}

#[test]
fn where_a_request_is_routed_is_told_to_the_next_stage() {
    let config = json!({
        "pre_route": [{"reroute": {"cluster": "canary", "tags": [["cohort", "b"]]}}],
        "pre_upstream": [
            {"report": {"to": "metadata"}},
            {"set_upstream_authority": {"authority": "inner"}},
            {"set_timeout": {"milliseconds": 1500}},
        ],
    });
    let more = [
        "--client",
        "192.0.2.9",
        "--route",
        "users",
        "--name",
        "mine",
    ];
    let (code, told) = probe(&config, GET, &more);
    assert_eq!(code, 0, "{told:#}");
    assert_eq!(told["policy"], "mine");
    let hint = json!({"route": null, "cluster": "canary", "tags": {"cohort": "b"}});
    assert_eq!(told["stages"][0]["hint"], hint);
    let second = &told["stages"][1];
    assert_eq!(second["upstream_authority"], "inner");
    assert_eq!(second["upstream_timeout_us"], 1_500_000);
    let seen = second["metadata"][0]["value"].as_str().unwrap();
    says(seen, &["192.0.2.9", "canary", "users", "example.com"]);
}

#[test]
fn bodies_are_whole_or_in_pieces_or_pass_by() {
    let buffered = json!({"pre_upstream": [{"append_body": {"text": "!"}}]});
    let (code, told) = probe(&buffered, POST, &["--stage", "pre_upstream", "--buffer"]);
    assert_eq!(code, 0, "{told:#}");
    let [stage] = &told["stages"].as_array().unwrap()[..] else {
        panic!("{told:#}");
    };
    assert_eq!(stage["message"]["body"], "some text!");
    says(
        stage["changes"].as_str().unwrap(),
        &[
            "-content-length: 9\n+content-length: 10\n",
            "-some text\n+some text!\n",
        ],
    );

    let streamed = json!({"request_body": [{"pass_chunks": {"count": 2}}, {"upper": {}}]});
    // As the component is made, if nothing is said.
    let more = ["--stage", "pre-upstream", "--piece", "2"];
    let (code, told) = probe(&streamed, POST, &more);
    assert_eq!(code, 0, "{told:#}");
    let stage = &told["stages"][0];
    assert_eq!(stage["message"]["body"], "some TEXT");
    assert!(stage["body_us"].is_u64() && stage["memory"].is_u64());
    says(
        stage["changes"].as_str().unwrap(),
        &["-content-length: 9\n"],
    );

    let (code, told) = probe(&json!({}), POST, &["--no-body"]);
    assert_eq!(code, 0, "{told:#}");
    let (code, told) = probe(&json!({}), POST, &["--max-body", "3"]);
    assert_eq!(code, 7, "{told:#}");
    assert_eq!(told["stages"][1]["failure"]["cause"], "body");
}

#[test]
fn a_policy_that_fails_is_told_and_has_an_exit_code() {
    let files = folder(&[
        ("req.http", GET),
        ("c.json", r#"{"pre_route": "infinite_loop"}"#),
    ]);
    let (file, req, c) = (
        component("hostile"),
        at(&files, "req.http"),
        at(&files, "c.json"),
    );
    let args = ["policy", "test", &file, "--request", &req, "--config", &c];
    let run = fleetway(&args);
    assert_eq!(run.code, 7, "{run:?}");
    says(
        &run.stdout,
        &["pre-route: failed (timeout): it ran for longer"],
    );
    assert_eq!(
        run.stderr,
        "error: the policy failed at pre-route: it ran for longer than its time-out\n"
    );
    let fuel = [&args[..], &["--limit-fuel", "10000", "-o", "json"]].concat();
    let run = fleetway(&fuel);
    assert_eq!(run.code, 7, "{run:?}");
    says(&run.stdout, &["\"cause\": \"fuel\""]);
}

#[test]
fn what_is_wrong_with_the_files_is_said_before_anything_runs() {
    let files = folder(&[
        ("req.http", GET),
        ("bad.http", "GET /\n\n"),
        ("c.json", r#"{"response":[{"remove":{"name":"a b"}}]}"#),
        ("list.json", "[]"),
    ]);
    let (file, req) = (component("header-rules"), at(&files, "req.http"));
    let test = |request: &str, more: &[&str]| {
        let args = ["policy", "test", &file, "--request", request];
        fleetway(&[&args[..], more].concat())
    };
    let refused = |run: Run, said: &str| {
        assert_eq!((run.code, &*run.stdout), (2, ""), "{run:?}");
        says(&run.stderr, &[said]);
    };
    let config = at(&files, "c.json");
    refused(
        test(&req, &["--config", &config]),
        "c.json: /response/0: `name` is no name",
    );
    let config = at(&files, "list.json");
    refused(
        test(&req, &["--config", &config]),
        "list.json: must be an object",
    );
    refused(
        test(&at(&files, "bad.http"), &[]),
        "bad.http: line 1: must be METHOD TARGET",
    );
    refused(
        test(&req, &["--limit-timeout", "1h"]),
        "limits.timeout: must be between",
    );
    let run = test(&req, &["--stage", "pre-upstream"]);
    assert_eq!(run.code, 1, "{run:?}");
    says(
        &run.stderr,
        &["does nothing at pre-upstream: it exports pre-route, post-response"],
    );
    let run = test(&req, &["--stream"]);
    assert_eq!(run.code, 1, "{run:?}");
    says(
        &run.stderr,
        &["--stream is for components that export request-body or response-body"],
    );
}

#[test]
fn a_module_without_its_interfaces_becomes_no_component() {
    let files = folder(&[]);
    let module = at(&files, "m.wasm");
    fs::write(&module, "hello there").unwrap();
    let run = fleetway(&["policy", "componentize", &module, &at(&files, "c.wasm")]);
    assert_eq!(run.code, 2, "{run:?}");
    says(
        &run.stderr,
        &[
            "m.wasm: no component can be made of it",
            "wasm32-unknown-unknown",
        ],
    );
    assert!(!files.path().join("c.wasm").exists());
}

/// Runs cargo on a package, without the network and with the versions of this workspace.
fn cargo(package: &Path, args: &[&str]) -> std::process::Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scaffold");
    Command::new(env!("CARGO"))
        .args(args)
        .arg("--offline")
        .current_dir(package)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap()
}

#[test]
fn a_policy_that_is_begun_builds_and_its_tests_pass() {
    let files = folder(&[]);
    let package = files.path().join("edge-team");
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/sdk");
    let to = package.to_str().unwrap();
    let args = ["policy", "new", "edge-team", "--path", to, "--sdk", sdk];
    let run = fleetway(&args);
    assert_eq!(run.code, 0, "{run:?}");
    let tested = cargo(&package, &["test"]);
    let text = String::from_utf8_lossy(&tested.stdout);
    let errors = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{text}{errors}");
    assert!(text.contains("2 passed"), "{text}{errors}");

    let run = fleetway(&args);
    assert_eq!(run.code, 1, "{run:?}");
    says(
        &run.stderr,
        &["there is something in", "name another folder with --path"],
    );
    let other = at(&files, "other");
    let run = fleetway(&["policy", "new", "other", "--path", &other]);
    assert_eq!(run.code, 0, "{run:?}");
    let manifest = fs::read_to_string(Path::new(&other).join("Cargo.toml")).unwrap();
    says(
        &manifest,
        &["name = \"other\"", "fleetway-policy = { git = \"https://"],
    );
    for (args, said) in [
        (
            &["policy", "new", "Other"][..],
            "\"Other\" cannot be its name",
        ),
        (
            &["policy", "new", "a", "--sdk", to],
            "is not the folder of the crate",
        ),
    ] {
        let run = fleetway(args);
        assert_ne!(run.code, 0, "{run:?}");
        says(&run.stderr, &[said]);
    }
    assert!(!Path::new("a").exists());
}
