//! The revision log.

use axum::response::Response;
use fleetway_api::{
    Id, document,
    proto::v1,
    rest::{Outcome, Page, RevisionChange, RevisionDetail, RevisionSummary},
};
use http::StatusCode;

use super::{
    Call,
    failure::Failure,
    input::{NoParams, params},
    list::{page, write_token},
    reply::{reply, time},
};
use crate::store::{RevisionHead, StoreError};

const LIST: &str = "revisions";

/// `GET /v1/revisions`: newest first.
pub(super) async fn list(call: Call) -> Result<Response, Failure> {
    let (size, before) = page(&call.parts, LIST)?;
    let before: u64 = before.unwrap_or(u64::MAX);
    let format = call.format;
    call.app
        .blocking(move |app| {
            let revision = app.committer.snapshot().revision();
            // What is committed but not yet published is not yet there.
            let before = before.min(revision.saturating_add(1));
            let mut heads = app.committer.store().revisions(before, size + 1)?;
            let more = heads.len() > size;
            heads.truncate(size);
            let page = Page {
                next_page_token: heads
                    .last()
                    .filter(|_| more)
                    .map(|last| write_token(LIST, &last.number.to_string())),
                items: heads.into_iter().map(summary).collect(),
                revision,
            };
            reply(StatusCode::OK, format, &page)
        })
        .await
}

/// `GET /v1/revisions/{n}`: what it changed, before and after.
pub(super) async fn get(call: Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    let number = number(&call.target)?;
    let format = call.format;
    call.app
        .blocking(move |app| {
            if number == 0 || number > app.committer.snapshot().revision() {
                return Err(unknown(number));
            }
            let revision = app
                .committer
                .store()
                .revision(number)?
                .ok_or_else(|| no_longer_kept(number))?;
            reply(StatusCode::OK, format, &detail(revision)?)
        })
        .await
}

/// Reads a revision number in a path.
pub(super) fn number(text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|_| Failure::NotFound(format!("there is no revision \"{text}\": give a number")))
}

/// A revision that was not committed.
pub(super) fn unknown(number: u64) -> Failure {
    Failure::NotFound(format!("there is no revision {number}"))
}

/// A revision that was committed and has left the log since.
fn no_longer_kept(number: u64) -> Failure {
    Failure::NotFound(format!(
        "revision {number} is no longer in the log, which keeps the newest ones only: the setting `keep_revisions` of the server says how many"
    ))
}

fn summary(head: RevisionHead) -> RevisionSummary {
    RevisionSummary {
        revision: head.number,
        time: time(head.time_ms),
        author: head.author,
        message: head.message,
        changed: head.changed,
    }
}

fn detail(revision: v1::Revision) -> Result<RevisionDetail, Failure> {
    let changes: Vec<RevisionChange> = revision
        .changes
        .into_iter()
        .map(change)
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::Format(format!("revision {}: {error}", revision.number)))?;
    Ok(RevisionDetail {
        summary: RevisionSummary {
            revision: revision.number,
            time: time(revision.time_ms),
            author: revision.author,
            message: revision.message,
            changed: changes.len(),
        },
        changes,
    })
}

fn change(change: v1::Change) -> Result<RevisionChange, String> {
    let outcome = match (&change.before, &change.after) {
        (None, Some(_)) => Outcome::Created,
        (Some(_), Some(_)) => Outcome::Updated,
        (_, None) => Outcome::Deleted,
    };
    let document = |message: &v1::Resource| document::write(message, None);
    let before = change.before.as_ref().map(document);
    let after = change.after.as_ref().map(document);
    let id = change
        .after
        .or(change.before)
        .ok_or("a change without a resource")
        .map(resource_id)??;
    Ok(RevisionChange {
        id,
        outcome,
        before,
        after,
    })
}

/// The identity of a stored resource, which may be one that today's rules would not take.
fn resource_id(message: v1::Resource) -> Result<Id, String> {
    document::id_of(&message).map_err(|error| error.to_string())
}
