//! `policy inspect`: what a component is.

use fleetway_api::component_digest;
use fleetway_policy_runtime::{ABI_VERSION, Description, Limits};
use serde::Serialize;
use serde_json::Value;

use super::{compile, read, refused};
use crate::{args::Inspect, output::Output};

/// What there is to know of a component.
#[derive(Serialize)]
struct Facts {
    digest: String,
    size: usize,
    /// The version of `fleetway:policy` it was built for.
    abi: String,
    stages: Vec<&'static str>,
    /// Whose bodies it can pass through itself.
    bodies: Vec<&'static str>,
    /// Whether it looks at its configuration itself.
    validates: bool,
    imports: Vec<String>,
    /// The JSON Schema of its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
}

pub(super) async fn run(args: &Inspect, output: &mut Output) -> anyhow::Result<()> {
    let path = &args.file;
    let wasm = read(path)?;
    let program = compile(path, &wasm, false)?;
    // That it can be instantiated, and that its exports are of their types, is only seen now.
    let tried = program.try_out("inspect", "{}", Limits::default()).await;
    tried.map_err(|error| refused(path, &error))?;
    let facts = Facts::of(program.description(), &wasm);
    if !output.is_table() {
        return output.body(&facts);
    }
    let or_none = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let rows = [
        ("digest", facts.digest.clone()),
        ("size", format!("{} bytes", facts.size)),
        ("abi", format!("fleetway:policy@{}", facts.abi)),
        ("stages", or_none(&facts.stages)),
        ("bodies", or_none(&facts.bodies)),
        ("config", config(&facts).to_owned()),
    ];
    for (name, value) in rows {
        output.line(&format!("{name:8} {value}"))?;
    }
    for (index, import) in facts.imports.iter().enumerate() {
        let name = if index == 0 { "imports" } else { "" };
        output.line(&format!("{name:8} {}", plain(import)))?;
    }
    if let Some(schema) = &facts.schema {
        output.line("schema")?;
        for line in format!("{schema:#}").lines() {
            output.line(&format!("    {}", plain(line)))?;
        }
    }
    Ok(())
}

impl Facts {
    fn of(description: &Description, wasm: &[u8]) -> Self {
        let bodies = [
            (description.request_body, "request-body"),
            (description.response_body, "response-body"),
        ];
        let schema = description.schema.as_ref();
        Self {
            digest: component_digest(wasm),
            size: description.size,
            abi: abi(&description.imports).to_owned(),
            stages: description
                .stages
                .iter()
                .map(|stage| stage.as_str())
                .collect(),
            bodies: bodies
                .into_iter()
                .filter_map(|(has, name)| has.then_some(name))
                .collect(),
            validates: description.validates,
            imports: description.imports.clone(),
            schema: schema.map(|text| {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }),
        }
    }
}

/// The version of the ABI that its imports are of.
fn abi(imports: &[String]) -> &str {
    let versions = imports.iter().filter_map(|import| {
        let (name, version) = import.split_once('@')?;
        name.starts_with("fleetway:policy/").then_some(version)
    });
    versions.max().unwrap_or(ABI_VERSION)
}

const fn config(facts: &Facts) -> &'static str {
    match (&facts.schema, facts.validates) {
        (Some(_), true) => "looked at by the policy, and has a JSON Schema",
        (Some(_), false) => "has a JSON Schema",
        (None, true) => "looked at by the policy",
        (None, false) => "not looked at before requests come",
    }
}

/// Without what would steer the terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
