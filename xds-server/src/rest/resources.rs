//! One resource: read, create, replace, patch, delete.

use axum::response::Response;
use fleetway_api::{
    FieldError, Id, Kind, Name,
    document::{self, Document, Expected, Format},
    rest::Outcome,
};
use http::{StatusCode, header};
use serde_json::Value;

use super::{
    App, Call,
    condition::{self, Preconditions, etag, not_modified},
    failure::Failure,
    input::{NoParams, Text, WriteParams, author, params},
    reply::{REVISION, document, find, message, reply, set},
};
use crate::commit::{CommitError, Committed, Condition, Operation, Transaction, Unmet};

/// How often a patch is worked out anew when others write to the same resource.
const PATCH_ATTEMPTS: usize = 10;

/// The ways to write a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// `POST`: it must not exist.
    Create,
    /// `PUT`: create it or put it in place of what is there.
    Put,
    /// `PATCH`: change parts of it, RFC 7396.
    Patch,
}

/// `GET /v1/{kind}/{name}`
pub(super) fn get(kind: Kind, call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    let snapshot = call.app.committer.snapshot();
    let entry = find(&snapshot, &id(kind, &call.target)?)?;
    let version = entry.data.version;
    let mut response = if not_modified(&call.parts.headers, version)? {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let document = document(entry, snapshot.revision())?;
        reply(StatusCode::OK, call.format, &document)?
    };
    set(&mut response, header::ETAG, &etag(version));
    Ok(response)
}

/// `POST /v1/{kind}`, `PUT` and `PATCH /v1/{kind}/{name}`
pub(super) async fn write(kind: Kind, call: Call, how: Write) -> Result<Response, Failure> {
    let WriteParams { dry_run, message } = WriteParams::read(&call.parts)?;
    let request = Request {
        kind,
        how,
        name: (how != Write::Create).then_some(call.target),
        preconditions: Preconditions::of_write(&call.parts)?,
        author: author(&call.parts.headers)?,
        message,
        dry_run,
    };
    let body = Text::read(&call.parts, call.body, call.app.max_body_bytes).await?;
    let format = call.format;
    call.app
        .blocking(move |app| {
            let document = body.document()?;
            let (id, committed) = request.make(app, document)?;
            written(&id, &committed, format)
        })
        .await
}

/// A write of one document.
struct Request {
    kind: Kind,
    how: Write,
    /// The name the path says.
    name: Option<String>,
    preconditions: Preconditions,
    author: String,
    message: String,
    dry_run: bool,
}

impl Request {
    fn make(&self, app: &App, mut document: Value) -> Result<(Id, Committed), Failure> {
        let unconditional = self.preconditions.is_empty() && document.get("meta").is_none();
        let mut attempt = 1;
        loop {
            let (body, base) = match self.how {
                // Made once: only a patch has a second attempt. A large one is not copied.
                Write::Create | Write::Put => (document.take(), None),
                Write::Patch => self.patched(app, &document)?,
            };
            let operation = self.operation(app, body, base)?;
            if self.how == Write::Patch {
                self.check_names(&document)?;
            }
            let id = operation.id.clone();
            match app.commit(self.transaction(operation)) {
                Ok(committed) => return Ok((id, committed)),
                // Someone else was faster, and the client did not ask to be told.
                Err(CommitError::Unmet(unmet))
                    if self.how == Write::Patch
                        && matches!(unmet.as_slice(), [Unmet::Stale { .. }])
                        && unconditional
                        && attempt < PATCH_ATTEMPTS =>
                {
                    attempt += 1;
                }
                Err(CommitError::Unmet(unmet))
                    if self.how != Write::Create
                        && matches!(unmet.as_slice(), [Unmet::Exists(_)]) =>
                {
                    return Err(condition::exists(&id));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The document with the patch made, and the version it was made of.
    fn patched(&self, app: &App, patch: &Value) -> Result<(Value, Option<u64>), Failure> {
        let snapshot = app.committer.snapshot();
        let entry = find(
            &snapshot,
            &id(self.kind, self.name.as_deref().unwrap_or_default())?,
        )?;
        let mut document = document::write(&message(entry)?, None);
        merge(&mut document, patch);
        Ok((document, Some(entry.data.version)))
    }

    /// Refuses a patch that takes out a field which no resource of the kind has: that changes
    /// nothing, and would go unnoticed.
    fn check_names(&self, patch: &Value) -> Result<(), Failure> {
        let Err(mut faults) = self.read(patch.clone()) else {
            return Ok(());
        };
        // By itself it lacks fields and has nulls: that is what a patch is.
        faults.retain(|fault| fault.message.starts_with("unknown field"));
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.into())
        }
    }

    fn read(&self, body: Value) -> Result<Document, Vec<FieldError>> {
        let name = self.name.as_deref();
        let place = name.map_or_else(
            || "body".to_owned(),
            |name| format!("{}/{name}", self.kind.plural()),
        );
        let expected = Expected {
            kind: Some(self.kind),
            name,
        };
        document::read(body, expected, &place)
    }

    fn operation(&self, app: &App, body: Value, base: Option<u64>) -> Result<Operation, Failure> {
        let document = self.read(body)?;
        let id = document.id;
        let snapshot = app.committer.snapshot();
        let found = snapshot.get(&id).map(|entry| entry.data.version);
        if self.how == Write::Create && found.is_some() {
            return Err(CommitError::Unmet(vec![Unmet::Exists(id)]).into());
        }
        let mut condition = self
            .preconditions
            .resolve(&id, document.if_version, found)?;
        if self.how == Write::Create {
            condition = Condition::Absent;
        }
        if let Some(base) = base {
            condition = Condition::Version(base);
        }
        Ok(Operation {
            id,
            put: Some(document.message),
            condition,
        })
    }

    fn transaction(&self, operation: Operation) -> Transaction {
        Transaction {
            author: self.author.clone(),
            message: self.message.clone(),
            operations: vec![operation],
            dry_run: self.dry_run,
            ..Transaction::default()
        }
    }
}

/// The answer to a write of one document.
pub(super) fn written(id: &Id, committed: &Committed, format: Format) -> Result<Response, Failure> {
    let entry = find(&committed.snapshot, id)?;
    let created = committed
        .response
        .results
        .iter()
        .any(|result| result.outcome == Outcome::Created);
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let document = document(entry, committed.response.revision)?;
    let mut response = reply(status, format, &document)?;
    if created {
        set(&mut response, header::LOCATION, &format!("/v1/{id}"));
    }
    set(&mut response, header::ETAG, &etag(entry.data.version));
    set_revision(&mut response, committed);
    Ok(response)
}

/// Names the revision that holds a write; a dry run has none.
pub(super) fn set_revision(response: &mut Response, committed: &Committed) {
    if !committed.response.dry_run {
        let revision = committed.response.revision.to_string();
        set(response, REVISION, &revision);
    }
}

/// `DELETE /v1/{kind}/{name}`
pub(super) async fn delete(kind: Kind, call: Call) -> Result<Response, Failure> {
    let WriteParams { dry_run, message } = WriteParams::read(&call.parts)?;
    let preconditions = Preconditions::of_write(&call.parts)?;
    let author = author(&call.parts.headers)?;
    let id = id(kind, &call.target)?;
    let format = call.format;
    call.app
        .blocking(move |app| {
            let snapshot = app.committer.snapshot();
            let entry = find(&snapshot, &id)?;
            let condition = preconditions.resolve(&id, None, Some(entry.data.version))?;
            let committed = app.commit(Transaction {
                author,
                message,
                operations: vec![Operation {
                    id,
                    put: None,
                    condition,
                }],
                dry_run,
                ..Transaction::default()
            })?;
            let mut response = reply(StatusCode::OK, format, &committed.response)?;
            set_revision(&mut response, &committed);
            Ok(response)
        })
        .await
}

/// The resource a path names. What is no name names nothing.
pub(super) fn id(kind: Kind, name: &str) -> Result<Id, Failure> {
    Name::new(name)
        .map(|name| Id::new(kind, name))
        .map_err(|_| Failure::NotFound(format!("there is no {}/{name}", kind.plural())))
}

/// Makes a merge patch, RFC 7396: objects field by field, `null` takes a field out, anything else
/// is put in place of what is there.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_merge_as_rfc_7396_has_it() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!([1, 2]),
                json!({"a": "b", "c": null}),
                json!({"a": "b"}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, result, "{target} + {patch}");
        }
    }
}
