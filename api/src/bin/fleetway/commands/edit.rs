//! `edit`: read → editor → conditional write, again until it is taken or given up.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;
use fleetway_api::{
    FieldError, Id, Resource,
    client::{Client, ClientError},
    document::{self, Document, Expected, Format},
    rest::{Code, Operation, TransactionResponse},
};
use serde_json::Value;

use super::{apply, targets};
use crate::{args::Edit, diff, exit::Faults, live, output::Output};

/// Begins the lines that are not part of the document.
const MARK: &str = "#|";

pub(crate) async fn run(client: &Client, args: &Edit, output: &mut Output) -> anyhow::Result<()> {
    let ids = targets(&args.target)?;
    let [id] = ids.as_slice() else {
        anyhow::bail!("one resource at a time: fleetway edit KIND NAME");
    };
    let before = client.get(id).await?;
    let Some(response) = rounds(client, args, id, &before).await? else {
        return output.line(&format!("{id} is left as it is"));
    };
    let wanted = std::collections::BTreeMap::new();
    apply::report(client, &response, &wanted, output).await?;
    live::wait(client, &args.write.wait, &response, output).await?;
    if args.write.wait.time.is_some()
        && let Ok(now) = client.get(id).await
    {
        let edited = [(id, now)].into();
        live::note_absent(client, &args.write.wait, &response, &edited).await;
    }
    Ok(())
}

/// Edits until the text is taken, or is left as it was: `None`. After any error but that, a text
/// that was changed is kept.
async fn rounds(
    client: &Client,
    args: &Edit,
    id: &Id,
    before: &Value,
) -> anyhow::Result<Option<TransactionResponse>> {
    let original = document::to_text(std::slice::from_ref(before), Format::Yaml);
    let file = tempfile::Builder::new()
        .prefix(&format!("fleetway-{}-{}-", id.kind.plural(), id.name))
        .suffix(".yaml")
        .tempfile()
        .context("cannot make a file to edit")?;
    let result = until_taken(client, args, id, before, (&original, file.path())).await;
    if let Err(error) = result {
        let changed = fs::read(file.path())
            .is_ok_and(|text| without_notes(&String::from_utf8_lossy(&text)) != original);
        if !changed {
            return Err(error);
        }
        let (_, path) = file.keep()?;
        return Err(error.context(format!(
            "given up; your text is kept in {}, for `fleetway apply -f`",
            path.display()
        )));
    }
    result
}

async fn until_taken(
    client: &Client,
    args: &Edit,
    id: &Id,
    before: &Value,
    (original, path): (&str, &Path),
) -> anyhow::Result<Option<TransactionResponse>> {
    let mut text = original.to_owned();
    let mut refused: Option<anyhow::Error> = None;
    let mut notes = vec![format!(
        "{id} of {}. Save and close to change it; leave it as it is, or empty, to let it be.",
        client.server()
    )];
    loop {
        fs::write(path, with_notes(&notes, &text))?;
        open_editor(path)?;
        let edited = without_notes(&fs::read_to_string(path)?);
        if edited.trim().is_empty() || edited == original {
            return Ok(None);
        }
        if let Some(error) = refused.take_if(|_| edited == text) {
            return Err(error);
        }
        text = edited;
        let error = match attempt(client, args, id, before, &text).await {
            Ok(response) => return Ok(Some(response)),
            Err(error) => error,
        };
        if !is_refusal(&error) {
            return Err(error);
        }
        notes = explain(&error);
        if is_stale(&error) {
            notes.extend(what_changed(client, id, before).await?);
        }
        refused = Some(error);
    }
}

/// Checks the text and sends it.
async fn attempt(
    client: &Client,
    args: &Edit,
    id: &Id,
    before: &Value,
    text: &str,
) -> anyhow::Result<TransactionResponse> {
    let document = read(text, id).map_err(Faults::from)?;
    let read_at = before.pointer("/meta/version").and_then(Value::as_str);
    let version = match document.if_version {
        Some(version) => Some(version.to_string()),
        None => read_at.map(str::to_owned),
    };
    let operation = Operation {
        put: Some(document::write_whole(&document.message, None)),
        if_version: version,
        ..Operation::default()
    };
    Ok(apply::transact(client, vec![operation], &args.write).await?)
}

/// Reads the one document, which must still be of the same resource.
fn read(text: &str, id: &Id) -> Result<Document, Vec<FieldError>> {
    let place = id.to_string();
    let mut documents = document::parse(text, Format::Yaml).map_err(|mut fault| {
        fault.resource.clone_from(&place);
        vec![fault]
    })?;
    let (Some(value), true) = (documents.pop(), documents.is_empty()) else {
        let message = "must be one document: other resources are for `fleetway apply`";
        return Err(vec![FieldError::new(&place, "", message)]);
    };
    let expected = Expected {
        kind: Some(id.kind),
        name: Some(id.name.as_str()),
    };
    let document = document::read(value, expected, &place)?;
    Resource::check(document.message.clone())?;
    Ok(document)
}

/// Whether the text can be mended: the server, or the check before it, refused it.
fn is_refusal(error: &anyhow::Error) -> bool {
    error.is::<Faults>()
        || matches!(error.downcast_ref(), Some(ClientError::Problem(problem)) if problem.status < 500)
}

fn is_stale(error: &anyhow::Error) -> bool {
    error.downcast_ref().and_then(ClientError::code) == Some(Code::StaleVersion)
}

fn explain(error: &anyhow::Error) -> Vec<String> {
    let mut notes = vec!["It was refused:".to_owned()];
    notes.extend(error.to_string().lines().map(|line| format!("  {line}")));
    notes.push("Mend it and save; save it as it is to give up (the text is kept).".to_owned());
    notes
}

/// What others did to the resource since it was opened.
async fn what_changed(client: &Client, id: &Id, before: &Value) -> anyhow::Result<Vec<String>> {
    let now = match client.get(id).await {
        Ok(now) => now,
        Err(error) if error.code() == Some(Code::NotFound) => {
            let text = "It was deleted. To create it again, set meta.version to \"0\".";
            return Ok(vec![text.to_owned()]);
        }
        Err(error) => return Err(error.into()),
    };
    let of_meta = |field: &str| {
        let value = now.get("meta").and_then(|meta| meta.get(field));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut notes = vec![format!(
        "{} changed it meanwhile, as below. Take that over and set meta.version to \"{}\".",
        of_meta("updated_by"),
        of_meta("version")
    )];
    let diff = diff::unified(Some(before), Some(&now));
    notes.extend(diff.lines().map(|line| format!("  {line}")));
    Ok(notes)
}

fn with_notes(notes: &[String], text: &str) -> String {
    let mut all = String::new();
    for note in notes {
        all.push_str(&format!("{MARK} {note}\n"));
    }
    all + text
}

fn without_notes(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with(MARK))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Opens `$VISUAL`, `$EDITOR` or vi, through the shell, as they may carry arguments.
fn open_editor(path: &Path) -> anyhow::Result<()> {
    let of = |name| {
        std::env::var(name)
            .ok()
            .filter(|text| !text.trim().is_empty())
    };
    let editor = of("VISUAL").or_else(|| of("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(path)
        .status()
        .context("cannot start a shell for the editor")?;
    anyhow::ensure!(
        status.success(),
        "the editor \"{editor}\" ended with {status}; nothing was changed. Set VISUAL or EDITOR to choose another"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use fleetway_api::{Kind, Name};

    use super::*;

    #[test]
    fn notes_are_put_before_the_text_and_taken_out_again() {
        let text = "kind: Cluster # as it is\n# a comment of the user\nname: a\n";
        let notes = ["It was refused:".to_owned(), "  name: bad".to_owned()];
        let shown = with_notes(&notes, text);
        assert!(shown.starts_with("#| It was refused:\n#|   name: bad\nkind"));
        assert_eq!(without_notes(&shown), text);
    }

    #[test]
    fn the_text_must_still_be_of_the_resource() {
        let id = Id::new(Kind::Cluster, Name::new("a").unwrap());
        let refuse = |text| read(text, &id).unwrap_err()[0].to_string();
        assert!(read("kind: Cluster\nname: a\n", &id).is_ok());
        assert_eq!(
            refuse("kind: Cluster\nname: b\n"),
            "clusters/a: name: is \"b\" but the path says \"a\""
        );
        assert!(refuse("{name: a}\n---\n{name: b}\n").contains("must be one document"));
        assert!(refuse("name: [").starts_with("clusters/a: not well-formed YAML"));
    }
}
