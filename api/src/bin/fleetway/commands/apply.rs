//! `apply`: files → one transaction → what became of each resource.

use std::collections::{BTreeMap, BTreeSet};

use fleetway_api::{
    FieldError, Id, Resource,
    client::{Client, ClientError},
    document::{self, Document, Faulty},
    files::Located,
    rest::{Operation, OperationResult, Outcome, TransactionRequest, TransactionResponse},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    args::{Apply, Write},
    exit::Faults,
    input::Input,
    live,
    output::{Colour, Output},
};

pub(crate) async fn run(client: &Client, args: &Apply, output: &mut Output) -> anyhow::Result<()> {
    let input = match Input::try_read(&args.files.files, Resource::check)? {
        Ok(input) => input,
        Err(faulty) => return Err(all_faults(client, args, faulty).await.into()),
    };
    let response = transact(client, operations(&input, args), &args.write)
        .await
        .map_err(|error| match error {
            ClientError::Problem(mut problem) => {
                problem.errors = input.locate(problem.errors);
                ClientError::Problem(problem)
            }
            other => other,
        })?;
    let wanted: BTreeMap<&Id, Value> = input
        .documents
        .iter()
        .map(|(_, document, _)| (&document.id, document::write(&document.message, None)))
        .collect();
    report(client, &response, &wanted, output).await?;
    live::wait(client, &args.write.wait, &response, output).await?;
    live::note_absent(client, &args.write.wait, &response, &wanted).await;
    Ok(())
}

fn operations(input: &Input<()>, args: &Apply) -> Vec<Operation> {
    let version = |document: &Document| document.if_version.filter(|_| !args.overwrite);
    let put = |(_, document, ()): &Located<()>| Operation {
        put: Some(document::write_whole(&document.message, None)),
        if_version: version(document).map(|version| version.to_string()),
        ..Operation::default()
    };
    input.documents.iter().map(put).collect()
}

/// The faults of the files, and what the server has against the documents without: all at once.
async fn all_faults(client: &Client, args: &Apply, faulty: Faulty<Located<()>>) -> Faults {
    let input = Input {
        documents: faulty.valid,
    };
    let mut all = faulty.faults;
    let mut operations = operations(&input, args);
    operations.extend(faulty.invalid.into_iter().map(|document| Operation {
        // What cannot be read may be anything; the server need not say more of it.
        put: Some(document),
        ..Operation::default()
    }));
    let request = TransactionRequest {
        message: String::new(),
        operations,
    };
    // A server that does not answer does not take the files' own faults away.
    if let Err(ClientError::Problem(problem)) = client.transaction(&request, true, None).await {
        let valid: BTreeSet<String> = input.ids().map(Id::to_string).collect();
        let of_valid = |fault: &FieldError| valid.contains(&fault.resource);
        let more = problem.errors.into_iter().filter(of_valid).collect();
        all.extend(input.locate(more));
    }
    all.into()
}

/// Sends a transaction that is made once, however often it has to be sent.
pub(super) async fn transact(
    client: &Client,
    operations: Vec<Operation>,
    write: &Write,
) -> Result<TransactionResponse, ClientError> {
    let request = TransactionRequest {
        message: write.message.clone(),
        operations,
    };
    let key = (!write.dry_run).then(|| Uuid::new_v4().to_string());
    client
        .transaction(&request, write.dry_run, key.as_deref())
        .await
}

/// Prints what a transaction did; `wanted` are the documents it put.
pub(super) async fn report(
    client: &Client,
    response: &TransactionResponse,
    wanted: &BTreeMap<&Id, Value>,
    output: &mut Output,
) -> anyhow::Result<()> {
    if !output.is_table() {
        return output.body(response);
    }
    let before = before(client, response).await?;
    let width = response
        .results
        .iter()
        .map(|result| word(result.outcome).len())
        .max()
        .unwrap_or(0);
    for result in &response.results {
        let word = format!("{:width$}", word(result.outcome));
        let word = output.paint(colour(result.outcome), &word);
        output.line(&format!("{word}  {}", result.id))?;
        if let (Outcome::Updated, Some((before, after))) = (result.outcome, before.get(&result.id))
        {
            let after = after.as_ref().or(wanted.get(&result.id));
            output.diff(Some(before), after)?;
        }
    }
    output.line(&summary(response))
}

/// The documents that were changed, as they were and, where it is known, as they are: of a
/// revision from the log, of a dry run from what there is.
async fn before(
    client: &Client,
    response: &TransactionResponse,
) -> Result<BTreeMap<Id, (Value, Option<Value>)>, ClientError> {
    let updated = |result: &&OperationResult| result.outcome == Outcome::Updated;
    let mut found = BTreeMap::new();
    if response.dry_run {
        for result in response.results.iter().filter(updated) {
            match client.get(&result.id).await {
                Ok(document) => {
                    found.insert(result.id.clone(), (document, None));
                }
                // It was deleted in between: there is nothing to compare with.
                Err(ClientError::Problem(_)) => {}
                Err(error) => return Err(error),
            }
        }
    } else if response.results.iter().any(|result| updated(&result)) {
        for change in client.revision(response.revision).await?.changes {
            if let Some(before) = change.before {
                found.insert(change.id, (before, change.after));
            }
        }
    }
    Ok(found)
}

pub(super) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Updated => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
    }
}

pub(super) const fn colour(outcome: Outcome) -> Colour {
    match outcome {
        Outcome::Created => Colour::Good,
        Outcome::Updated => Colour::Change,
        Outcome::Unchanged => Colour::Place,
        Outcome::Deleted => Colour::Bad,
    }
}

fn summary(response: &TransactionResponse) -> String {
    let counts: Vec<String> = [
        Outcome::Created,
        Outcome::Updated,
        Outcome::Deleted,
        Outcome::Unchanged,
    ]
    .into_iter()
    .filter_map(|outcome| {
        let count = response
            .results
            .iter()
            .filter(|result| result.outcome == outcome)
            .count();
        (count > 0).then(|| format!("{count} {}", word(outcome)))
    })
    .collect();
    let counts = counts.join(", ");
    let changed = response
        .results
        .iter()
        .any(|result| result.outcome != Outcome::Unchanged);
    let revision = response.revision;
    match (response.dry_run, changed) {
        (true, true) => {
            format!("dry run: nothing was stored; this would be revision {revision} ({counts})")
        }
        (_, true) => format!("revision {revision} ({counts})"),
        (_, false) => format!("nothing to change at revision {revision} ({counts})"),
    }
}
