//! The samples as they were built: each is what it says, and does its work.

mod work;

use std::{collections::BTreeSet, fs};

use fleetway_policy_runtime::{ABI_VERSION, Stage};
use serde_json::{Value, json};
use wasmparser::{
    Validator,
    component_types::{ComponentDefinedType, ComponentEntityType, ComponentValType},
};

use crate::support::{PATIENT, bytes, folder, is_built, program};
use Stage::{PostResponse, PreRoute, PreUpstream};

/// A sample, and what it has to be.
struct Sample {
    name: &'static str,
    stages: &'static [Stage],
    /// The stages whose bodies pass through it.
    passes: &'static [Stage],
    /// A configuration.
    config: Value,
    /// Configurations it refuses, with the fields it points at.
    refused: Vec<(Value, Vec<&'static str>)>,
}

/// A key of 32 bytes, in base64.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn in_rust() -> Vec<Sample> {
    vec![
        Sample {
            name: "header-rules",
            stages: &[PreRoute, PostResponse],
            passes: &[],
            config: json!({
                "request": [{"set": {"name": "x-team", "value": "edge"}}, {"remove": {"name": "x-debug"}}],
                "response": [
                    {"add": {"name": "vary", "value": "accept"}},
                    {"set_if_missing": {"name": "server", "value": "other"}},
                ],
            }),
            refused: vec![
                (
                    json!({"request": [{"remove": {"name": "a b"}}]}),
                    vec!["/request/0"],
                ),
                (
                    json!({"response": [{"set": {"name": 7}}]}),
                    vec!["/response/0/set/name"],
                ),
            ],
        },
        Sample {
            name: "jwt-claims-to-headers",
            stages: &[PreRoute],
            passes: &[],
            config: json!({"key": KEY, "claims": [
                {"claim": "sub", "header": "x-user"},
                {"claim": "/realm/roles", "header": "x-roles"},
            ]}),
            refused: vec![
                (json!({"key": "?", "claims": []}), vec!["/key"]),
                (
                    json!({"key": KEY, "claims": [{"claim": "sub", "header": ""}]}),
                    vec!["/claims/0/header"],
                ),
            ],
        },
        Sample {
            name: "geo-route",
            stages: &[PreRoute],
            passes: &[],
            config: json!({"tag": "region", "default": "rest", "networks": [
                {"cidr": "192.0.0.0/16", "value": "around"},
                {"cidr": "192.0.2.0/24", "value": "inside"},
            ]}),
            refused: vec![(
                json!({"tag": "", "networks": [{"cidr": "10.0.0.0/33", "value": "a"}]}),
                vec!["/networks/0/cidr", "/tag"],
            )],
        },
        Sample {
            name: "coraza-lite",
            stages: &[PreRoute],
            passes: &[],
            config: json!({"threshold": 5, "rules": [
                {"id": "sqli-1", "in": ["query"], "pattern": "(?i)union\\s+select", "score": 5},
                {"id": "path-1", "in": ["path"], "pattern": "/\\.git", "score": 3},
            ]}),
            // There is no body before a route is chosen, so no rule can be about it.
            refused: vec![(
                json!({"threshold": 0, "rules": [{"id": "a", "in": ["body"], "pattern": "(", "score": 1}]}),
                vec!["/threshold", "/rules/0/in/0", "/rules/0/pattern"],
            )],
        },
        Sample {
            name: "canary-by-cookie",
            stages: &[PreRoute, PostResponse],
            passes: &[],
            config: json!({"cookie": "canary", "cluster": "next", "percent": 100}),
            refused: vec![(
                json!({"cookie": "a b", "cluster": "", "percent": 101}),
                vec!["/percent", "/cookie", "/cluster"],
            )],
        },
        Sample {
            name: "sign-request",
            stages: &[PreUpstream],
            passes: &[],
            config: json!({"key": KEY, "key_id": "k1"}),
            refused: vec![
                (json!({"key": "YWJj", "key_id": "k1"}), vec!["/key"]),
                (json!({"key": KEY, "key_id": "k 1"}), vec!["/key_id"]),
            ],
        },
        Sample {
            name: "redact-json",
            stages: &[PreUpstream, PostResponse],
            passes: &[PostResponse],
            config: json!({"fields": ["ssn"]}),
            refused: vec![
                (json!({"fields": []}), vec!["/fields"]),
                (json!({"fields": ["a", 1]}), vec!["/fields/1"]),
            ],
        },
    ]
}

fn in_other_languages() -> Vec<Sample> {
    vec![
        Sample {
            name: "languages/tenant-limit",
            stages: &[PreRoute],
            passes: &[],
            config: json!({"header": "x-tenant", "limit": 1}),
            refused: vec![(json!({"limit": 0}), vec!["/header", "/limit"])],
        },
        Sample {
            name: "languages/security-headers",
            stages: &[PostResponse],
            passes: &[],
            config: json!({"frame": "DENY"}),
            refused: vec![(json!({"hsts": {"max_age": -1}}), vec!["/hsts/max_age"])],
        },
    ]
}

/// Those that are built. One in Rust is never left out.
fn all() -> impl Iterator<Item = Sample> {
    let others = in_other_languages().into_iter();
    let others = others.filter(|sample| is_built(sample.name));
    in_rust().into_iter().chain(others)
}

#[tokio::test]
async fn each_is_what_it_says() {
    for sample in all() {
        let name = sample.name;
        let program = program(name).await.expect(name);
        let description = program.description();
        assert_eq!(description.stages, sample.stages, "{name}");
        let request = sample.passes.contains(&PreUpstream);
        assert_eq!(description.request_body, request, "{name}");
        let response = sample.passes.contains(&PostResponse);
        assert_eq!(description.response_body, response, "{name}");
        assert!(description.validates, "{name}");
        for import in &description.imports {
            let is_known = import.starts_with("fleetway:policy/") || import.starts_with("wasi:");
            assert!(is_known, "{name}: {import}");
        }
        // Its exports are of the types of the ABI.
        program.trial().await.expect(name);

        let mut cases = sample.refused;
        cases.push((sample.config, vec![]));
        cases.push((json!([]), vec![""]));
        for (config, paths) in cases {
            let tried = program.try_out("p", &config.to_string(), PATIENT).await;
            let faults = tried.expect(name);
            let found: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
            assert_eq!(found, paths, "{name}: {config}: {faults:?}");
        }
    }
}

/// What a component's `pre-route` is called with, none where it has none; true for what is lent.
fn lent_before_a_route(wasm: &[u8]) -> Option<Vec<bool>> {
    let types = Validator::new().validate_all(wasm).expect("a component");
    let types = types.as_ref();
    let name = format!("fleetway:policy/pre-route@{ABI_VERSION}");
    let ComponentEntityType::Instance(stage) = types.component_item_for_export(&name)?.ty else {
        panic!("{name} is no interface");
    };
    let handle = types[stage].exports.get("handle").expect("a function");
    let ComponentEntityType::Func(handle) = handle.ty else {
        panic!("handle is no function");
    };
    let is_lent = |of: &ComponentValType| match of {
        ComponentValType::Type(of) => matches!(types[*of], ComponentDefinedType::Borrow(_)),
        ComponentValType::Primitive(_) => false,
    };
    let params = types[handle].params.iter();
    Some(params.map(|(_, of)| is_lent(of)).collect())
}

/// All a policy can reach are the handles it is called with, and a request has none of a body: that
/// it is a request is looked at when the component is tried.
#[test]
fn none_is_given_a_body_before_a_route_is_chosen() {
    for sample in all() {
        let expected = sample.stages.contains(&PreRoute).then(|| vec![true]);
        assert_eq!(
            lent_before_a_route(&bytes(sample.name)),
            expected,
            "{}",
            sample.name
        );
    }
}

#[test]
fn none_is_left_out_of_these_tests() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(self::folder().join(folder)).into_iter();
        let names = entries
            .flatten()
            .map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("text"));
        names
            .filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned))
            .collect()
    };
    let mut built = names("");
    let known: BTreeSet<_> = in_rust()
        .iter()
        .map(|sample| sample.name.to_owned())
        .collect();
    // They have suites of their own.
    assert!(built.remove("probe") && built.remove("hostile"));
    assert_eq!(built, known);
    for name in names("languages") {
        let known = in_other_languages();
        let known = known.iter().any(|sample| sample.name.ends_with(&name));
        assert!(known || name.starts_with("probe-"), "{name}");
    }
}
