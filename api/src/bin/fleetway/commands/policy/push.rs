//! `policy push`: the component, then the policy that runs it.

use anyhow::Context as _;
use fleetway_api::{
    Id, Kind, Name,
    client::{Client, ClientError, WriteOptions},
    document::{self, Expected},
    rest::{Code, Operation, TransactionResponse},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{open, read_config};
use crate::{
    args::{Push, Write},
    commands::apply,
    exit::Faults,
    live,
    output::{Colour, Output},
};

/// What was done, as the server told it.
#[derive(Serialize)]
struct Pushed {
    component: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionResponse>,
}

pub(super) async fn run(client: &Client, args: &Push, output: &mut Output) -> anyhow::Result<()> {
    if args.wait.time.is_some() && args.name.is_none() {
        anyhow::bail!(
            "--wait is for --name: a component goes to proxies with a policy that names it"
        );
    }
    let name = args
        .name
        .as_deref()
        .map(|name| Name::new(name).with_context(|| format!("--name: \"{name}\" is not a name")));
    let id = name.transpose()?.map(|name| Id::new(Kind::Policy, name));
    let config = args.config.as_deref().map(read_config).transpose()?;

    let (file, length) = open(&args.file)?;
    let options = WriteOptions {
        message: args.message.clone(),
        ..WriteOptions::default()
    };
    let file = tokio::fs::File::from_std(file);
    let (component, created) = client.upload(file, length, &options).await?;
    let digest = component.get("name").and_then(Value::as_str);
    let digest = digest.context("the server's answer does not name the component")?;
    if output.is_table() {
        report(output, digest, &component, created)?;
    }
    let Some(id) = id else {
        return match output.is_table() {
            true => Ok(()),
            false => output.body(&Pushed {
                component,
                transaction: None,
            }),
        };
    };

    let changed = change(client, &id, digest, config, args).await;
    let (wanted, response) =
        changed.with_context(|| format!("the component is there, but {id} does not run it"))?;
    if output.is_table() {
        apply::report(client, &response, &[(&id, wanted)].into(), output).await?;
    } else {
        output.body(&Pushed {
            component,
            transaction: Some(response.clone()),
        })?;
    }
    live::wait(client, &args.wait, &response, output).await
}

/// Says which component is there now.
fn report(
    output: &mut Output,
    digest: &str,
    component: &Value,
    created: bool,
) -> anyhow::Result<()> {
    let (word, colour) = match created {
        true => ("created", Colour::Good),
        false => ("unchanged", Colour::Place),
    };
    let word = output.paint(colour, word);
    output.line(&format!("{word}  components/{digest}"))?;
    let fact = |name: &str| component.pointer(&format!("/facts/{name}"));
    if let Some(size) = fact("size") {
        output.line(&format!("    size    {size} bytes"))?;
    }
    let stages = fact("stages").and_then(Value::as_array);
    let stages: Vec<&str> = stages
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !stages.is_empty() {
        output.line(&format!("    stages  {}", stages.join(", ")))?;
    }
    Ok(())
}

/// Has the policy run the component, if nobody else changes it meanwhile.
async fn change(
    client: &Client,
    id: &Id,
    digest: &str,
    config: Option<Value>,
    args: &Push,
) -> anyhow::Result<(Value, TransactionResponse)> {
    let (mut policy, version) = match client.get(id).await {
        Ok(policy) => {
            let version = policy.pointer("/meta/version").and_then(Value::as_str);
            let version = version.context("the server does not tell the policy's version")?;
            let version = version.to_owned();
            (policy, version)
        }
        Err(error) if error.code() == Some(Code::NotFound) => {
            let new = json!({"kind": Kind::Policy.as_str(), "name": id.name.as_str()});
            (new, "0".to_owned())
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(fields) = policy.as_object_mut() {
        fields.shift_remove("meta");
        fields.insert("component".to_owned(), digest.into());
        if let Some(config) = config {
            fields.insert("config".to_owned(), config);
        }
        if let Some(version) = &args.version {
            let labels = fields.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert("version".to_owned(), version.as_str().into());
            }
        }
    }
    let expected = Expected {
        kind: Some(id.kind),
        name: Some(id.name.as_str()),
    };
    let read = document::read(policy, expected, &id.to_string()).map_err(Faults::from)?;
    let operation = Operation {
        put: Some(document::write_whole(&read.message, None)),
        if_version: Some(version),
        ..Operation::default()
    };
    let write = Write {
        message: args.message.clone(),
        dry_run: false,
        wait: args.wait.clone(),
    };
    let wanted = document::write(&read.message, None);
    let response = apply::transact(client, vec![operation], &write).await;
    let response = response.map_err(|error| match error {
        ClientError::Problem(problem) if problem.code == Code::StaleVersion => {
            anyhow::Error::from(ClientError::Problem(problem))
                .context("somebody else changed the policy meanwhile: push again")
        }
        other => other.into(),
    })?;
    Ok((wanted, response))
}
