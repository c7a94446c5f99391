//! `policy`: components and the policies that run them.

mod componentize;
mod inspect;
mod new;
mod push;
mod try_out;

use std::{fs::File, io::Read as _, path::Path};

use anyhow::Context as _;
use bytes::Bytes;
use fleetway_api::{
    Component, FieldError,
    client::Client,
    document::{self, Format},
};
use fleetway_policy_runtime::{CompileError, Options, Program, Runtime};
use serde_json::Value;

use crate::{
    args::{Policy, PolicyCommand},
    exit::Faults,
    output::Output,
};

pub(super) async fn run(
    client: impl Fn() -> anyhow::Result<Client>,
    args: &Policy,
    output: &mut Output,
) -> anyhow::Result<()> {
    match &args.command {
        PolicyCommand::Push(args) => push::run(&client()?, args, output).await,
        PolicyCommand::Inspect(args) => inspect::run(args, output).await,
        PolicyCommand::Test(args) => try_out::run(args, output).await,
        PolicyCommand::New(args) => new::run(args, output),
        PolicyCommand::Componentize(args) => componentize::run(args, output),
    }
}

/// A fault of a file that makes it none of what it has to be.
fn fault(file: &Path, field: &str, message: impl Into<String>) -> Faults {
    vec![FieldError::new(file.display(), field, message)].into()
}

/// Opens a component; gives its length too. What it begins with is looked at.
fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let about = file.metadata().with_context(cannot)?;
    anyhow::ensure!(
        about.is_file(),
        "{} is no file: name a component, a *.wasm",
        path.display()
    );
    let length = about.len();
    if length > Component::MAX_BYTES as u64 {
        let message = format!(
            "is {length} bytes long, {} are the most",
            Component::MAX_BYTES
        );
        return Err(fault(path, "", message).into());
    }
    let mut first = Vec::new();
    let begin = file.by_ref().take(8);
    { begin }.read_to_end(&mut first).with_context(cannot)?;
    Component::check_bytes(&first).map_err(|message| fault(path, "", message))?;
    std::io::Seek::rewind(&mut file).with_context(cannot)?;
    Ok((file, length))
}

/// The bytes of a component.
fn read(path: &Path) -> anyhow::Result<Bytes> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    let read = file
        .take(Component::MAX_BYTES as u64)
        .read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.into())
}

/// A configuration from a file of JSON or YAML.
fn read_config(path: &Path) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let format = if is_json { Format::Json } else { Format::Yaml };
    let config = document::parse_one(&text, format)
        .map_err(|error| fault(path, &error.field, error.message))?;
    if !config.is_object() {
        return Err(fault(
            path,
            "",
            "must be an object: what the policy is told, by field",
        )
        .into());
    }
    Ok(config)
}

/// Compiles a component here; it must be a policy.
fn compile(path: &Path, wasm: &[u8], fuel: bool) -> anyhow::Result<std::sync::Arc<Program>> {
    let options = Options {
        // One call at a time; the parts of interpreters have several memories.
        calls: 4,
        cache: None,
        fuel,
    };
    let runtime = Runtime::new(options)?;
    Program::compile(&runtime, wasm).map_err(|error| refused(path, &error).into())
}

/// A component that is no policy, with what would make it one.
fn refused(path: &Path, error: &CompileError) -> Faults {
    Faults {
        hint: "docs/policies/writing.md tells how policies are built; `fleetway policy new` begins one",
        ..fault(path, "", error.to_string())
    }
}
