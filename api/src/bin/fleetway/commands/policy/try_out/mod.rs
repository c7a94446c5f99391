//! `policy test`: a policy on a request, here.

mod log;
mod message;
mod passed;
mod report;
mod stages;

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use fleetway_api::{
    BodyAccess, Name, PathNormalization, Policy, Resource, component_digest,
    document::{self, Expected},
    normalize,
};
use fleetway_policy_runtime::{
    Bounds, Client, Description, Facts, Grant, Hint, Limits, Notebook, Shared, Stage, Subject, Unit,
};
use serde_json::Value;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{compile, fault, read, read_config, refused};
use crate::{
    args::{StageName, Test},
    exit::{Faults, PolicyFailed},
    output::Output,
};

/// What the head of a request may hold where a listener says nothing else.
const BOUNDS: Bounds = Bounds {
    fields: 100,
    bytes: 65_536,
};

pub(super) async fn run(args: &Test, output: &mut Output) -> anyhow::Result<()> {
    let request = read_message(&args.request, message::request)?;
    let response = match &args.response {
        Some(path) => read_message(path, message::response)?,
        None => message::empty_response(),
    };
    let path = &args.file;
    let wasm = read(path)?;
    let program = compile(path, &wasm, args.bounds.limit_fuel.is_some())?;
    let policy = policy(args, &wasm, program.description().streams())?;
    let stages = chosen(args, program.description())?;

    let (lines, subscriber) = log::capture();
    let _captured = subscriber.set_default();
    let limits = Limits {
        timeout: policy.limits.timeout,
        memory: usize::try_from(policy.limits.memory)?,
        fuel: policy.limits.fuel,
    };
    let config = policy.config.merged(None);
    let name = policy.common.name.as_str();
    let tried = program.try_out(name, &config, limits).await;
    let faults = tried.map_err(|error| refused(path, &error))?;
    if !faults.is_empty() {
        let file = args.config.as_deref().unwrap_or(Path::new("config"));
        let all = faults
            .into_iter()
            .flat_map(|of| fault(file, &of.path, of.message).all);
        return Err(Faults::from(all.collect::<Vec<_>>()).into());
    }
    // What it wrote while it looked at the configuration is of no stage.
    lines.take();

    let unit = Arc::new(Unit {
        name: name.into(),
        program,
        config: config.into(),
        limits,
        grant: Grant::default(),
        shared: Arc::new(Shared::new(name)),
    });
    let mut run = stages::Run {
        unit: unit.clone(),
        body: policy.body,
        piece: usize::try_from(args.piece)?,
        place: &args.place,
        lines,
        request_body: request.body,
        response,
        hint: Hint::default(),
    };
    let subject = subject(args, request.head);
    let passed = Box::pin(run.all(&stages, subject)).await;
    report::print(name, &passed, &unit.shared, output)?;
    match passed.last().and_then(passed::Passed::failure) {
        None => Ok(()),
        Some((stage, failure)) => Err(PolicyFailed {
            stage,
            failure: failure.clone(),
        }
        .into()),
    }
}

/// Reads a file as a message.
fn read_message<H>(
    path: &Path,
    read: impl Fn(&[u8]) -> Result<message::Message<H>, String>,
) -> anyhow::Result<message::Message<H>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(read(&bytes).map_err(|message| fault(path, "", message))?)
}

/// The policy that the options stand for, checked as one that is pushed is.
fn policy(args: &Test, wasm: &[u8], streams: bool) -> anyhow::Result<Policy> {
    let stem = args.file.file_stem().and_then(|name| name.to_str());
    let stem = stem.filter(|name| Name::new(name).is_ok());
    let name = args.place.name.as_deref().or(stem).unwrap_or("policy");
    let buffered = args.buffer || args.bounds.max_body.is_some() || !streams;
    let mode = match (args.stream, args.no_body) {
        (true, _) => "STREAMED",
        (_, true) => "NONE",
        _ if buffered => "BUFFERED",
        _ => "STREAMED",
    };
    let bounds = &args.bounds;
    let limits = object([
        ("timeout", bounds.limit_timeout.as_deref().map(Value::from)),
        ("memory", bounds.limit_memory.map(Value::from)),
        ("fuel", bounds.limit_fuel.map(Value::from)),
    ]);
    let document = object([
        ("kind", Some("Policy".into())),
        ("name", Some(name.into())),
        ("component", Some(component_digest(wasm).into())),
        (
            "config",
            args.config.as_deref().map(read_config).transpose()?,
        ),
        ("body", Some(mode.into())),
        ("max_body", bounds.max_body.map(Value::from)),
        ("limits", Some(limits)),
    ]);
    let place = format!("policies/{name}");
    let expected = Expected {
        kind: None,
        name: None,
    };
    let read = document::read(document, expected, &place).map_err(Faults::from)?;
    match Resource::read(read.message).map_err(Faults::from)? {
        Resource::Policy(policy) => Ok(*policy),
        other => anyhow::bail!("{} is no policy", other.id()),
    }
}

/// The fields that are there.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter();
    there
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The stages to run, in order.
fn chosen(args: &Test, description: &Description) -> anyhow::Result<Vec<Stage>> {
    let has = &description.stages;
    let names: Vec<&str> = has.iter().map(|stage| stage.as_str()).collect();
    let names = names.join(", ");
    let stages = match args.stage {
        None => has.clone(),
        Some(stage) => vec![match stage {
            StageName::PreRoute => Stage::PreRoute,
            StageName::PreUpstream => Stage::PreUpstream,
            StageName::PostResponse => Stage::PostResponse,
        }],
    };
    if let Some(missing) = stages.iter().find(|stage| !has.contains(stage)) {
        anyhow::bail!("the component does nothing at {missing}: it exports {names}");
    }
    let streams = |stage: &Stage| match stage {
        Stage::PreRoute => false,
        Stage::PreUpstream => description.request_body,
        Stage::PostResponse => description.response_body,
    };
    if args.stream && !stages.iter().any(streams) {
        anyhow::bail!(
            "--stream is for components that export request-body or response-body, for a stage that runs: leave it out"
        );
    }
    Ok(stages)
}

/// A request as a proxy has it when the first policy sees it.
fn subject(args: &Test, mut request: http::request::Parts) -> Box<Subject> {
    let id = message::request_id(&mut request.headers);
    let place = &args.place;
    let facts = Facts {
        id,
        received: SystemTime::now(),
        protocol: message::protocol(request.version),
        client: Arc::new(Client {
            address: place.client,
            listener: place.listener.as_str().into(),
            connection: 1,
            tls: None,
        }),
        paths: Arc::new(|path| {
            let normal = normalize(path, &PathNormalization::default());
            normal
                .map(std::borrow::Cow::into_owned)
                .map_err(|fault| fault.to_string())
        }),
        bounds: BOUNDS,
        hops: 0,
        outbound: None,
    };
    Box::new(Subject {
        request,
        facts: Arc::new(facts),
        notebook: Notebook::default(),
    })
}

/// The most bytes of a body in body mode `BUFFERED`.
fn max_body(body: BodyAccess) -> Option<usize> {
    match body {
        BodyAccess::Buffered { max } => Some(usize::try_from(max).unwrap_or(usize::MAX)),
        _ => None,
    }
}
