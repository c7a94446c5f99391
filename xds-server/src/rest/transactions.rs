//! Many changes at once.

use axum::response::Response;
use fleetway_api::{
    FieldError,
    document::{self, Expected},
    rest, shortened,
};
use http::StatusCode;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Call,
    failure::Failure,
    input::{self, Text, TransactionParams, author, params},
    reply::reply,
    resources::set_revision,
};
use crate::commit::{Condition, Operation, Transaction, Unread};

/// How many are worked on at once: each can take a core for seconds.
static TURNS: Semaphore = Semaphore::const_new(4);

/// `POST /v1/transactions`
pub(super) async fn transact(call: Call) -> Result<Response, Failure> {
    let TransactionParams { dry_run } = params(&call.parts)?;
    let author = author(&call.parts.headers)?;
    let key = input::idempotency_key(&call.parts.headers)?;
    let body = Text::read(&call.parts, call.body, call.app.max_body_bytes).await?;
    let format = call.format;
    let gone = CancellationToken::new();
    let turn = TURNS.acquire().await;
    let turn = turn.map_err(|error| Failure::Internal(error.to_string()))?;
    // Dropped with this call when the client goes away.
    let _waiting = gone.clone().drop_guard();
    call.app
        .blocking(move |app| {
            let _turn = turn;
            let committed = app.commit(Transaction {
                author,
                dry_run,
                gone,
                idempotency: key.map(|key| (key, body.fingerprint())),
                ..read(body.document()?)
            })?;
            let mut response = reply(StatusCode::OK, format, &committed.response)?;
            set_revision(&mut response, &committed);
            Ok(response)
        })
        .await
}

/// Reads the request: message, operations, and every fault of those that are not readable.
fn read(body: Value) -> Transaction {
    let mut unread = Unread::default();
    let mut fault =
        |field: &str, message: &str| unread.faults.push(FieldError::new("", field, message));
    let Value::Object(mut fields) = body else {
        fault("", "must be an object with `operations`");
        return Transaction {
            unread,
            ..Transaction::default()
        };
    };
    let message = match fields.shift_remove("message") {
        None => String::new(),
        Some(Value::String(message)) => {
            if let Err(error) = input::check_message(&message) {
                fault("message", &error);
            }
            message
        }
        Some(_) => {
            fault("message", "must be a string");
            String::new()
        }
    };
    let listed = match fields.shift_remove("operations") {
        Some(Value::Array(listed)) => listed,
        Some(_) => {
            fault("operations", "must be a list");
            Vec::new()
        }
        None => {
            fault("operations", "is missing: list the changes to make");
            Vec::new()
        }
    };
    for key in fields.keys() {
        fault(
            &shortened(key),
            "is not known here: a transaction has `message` and `operations`",
        );
    }
    let mut operations = Vec::with_capacity(listed.len());
    for (index, operation) in listed.into_iter().enumerate() {
        let put = operation.get("put").map(document::id_in);
        match read_operation(operation, &format!("operations[{index}]")) {
            Ok(operation) => operations.push(operation),
            Err(faults) => {
                unread.faults.extend(faults);
                unread.resources.note(put.flatten());
            }
        }
    }
    Transaction {
        message,
        operations,
        unread,
        ..Transaction::default()
    }
}

fn read_operation(value: Value, place: &str) -> Result<Operation, Vec<FieldError>> {
    let fault = |field: &str, message: String| vec![FieldError::new(place, field, message)];
    let rest::Operation {
        put,
        delete,
        if_version,
    } = rest::Operation::read(value).map_err(|(field, message)| fault(&field, message))?;
    let if_version: Option<u64> =
        if_version
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| {
                fault(
                "if_version",
                "must be a version, a decimal number in quotes; \"0\": the resource must not exist"
                    .to_owned(),
            )
            })?;
    match (put, delete) {
        (Some(put), None) => {
            let document = document::read(put, Expected::default(), &format!("{place}.put"))?;
            let condition = both(if_version, document.if_version).ok_or_else(|| {
                vec![FieldError::new(
                    &document.id,
                    "meta.version",
                    format!("and `if_version` of {place} name different versions: give one"),
                )]
            })?;
            Ok(Operation {
                id: document.id,
                put: Some(document.message),
                condition,
            })
        }
        (None, Some(id)) if if_version == Some(0) => Err(fault(
            "if_version",
            format!("\"0\" is the version of what does not exist, and {id} is to be deleted"),
        )),
        (None, Some(id)) => Ok(Operation {
            id,
            put: None,
            condition: if_version.map_or(Condition::None, Condition::Version),
        }),
        (Some(_), Some(_)) => Err(fault(
            "",
            "has `put` and `delete`: make two operations of it".to_owned(),
        )),
        (None, None) => Err(fault("", "has neither `put` nor `delete`".to_owned())),
    }
}

/// The condition of two versions that may be given; `None` if they differ.
fn both(one: Option<u64>, two: Option<u64>) -> Option<Condition> {
    match (one, two) {
        (Some(one), Some(two)) if one != two => None,
        (one, two) => Some(match one.or(two) {
            None => Condition::None,
            Some(0) => Condition::Absent,
            Some(version) => Condition::Version(version),
        }),
    }
}
