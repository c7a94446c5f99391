//! Components: the bytes come in, and go out again.

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use fleetway_api::{Component, FieldError, Id, Kind, Name, Resource, component_digest, proto::v1};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tower_http::timeout::TimeoutBody;

use super::{
    App, Call,
    condition::{etag, not_modified},
    failure::Failure,
    input::{BODY_SILENCE, NoParams, WriteParams, announced, author, params},
    reply::{document, find, reply, set, with_type},
    resources::{self, written},
};
use crate::commit::{CommitError, Condition, Operation, Transaction, Unmet};

/// What the bytes are called.
pub(super) const WASM: &str = "application/wasm";
/// How many uploads are taken in at once; more wait.
pub const UPLOADS: usize = 16;
/// The bytes a second that are the least of an upload: others wait for its place.
const RATE: usize = 64 * 1024;
/// How much of a body decides whether it is worth reading on.
const PREAMBLE: usize = 8;

/// `PUT /v1/components`: the bytes make the component they are, if it is not there.
pub(super) async fn upload(call: Call) -> Result<Response, Failure> {
    let WriteParams { dry_run, message } = WriteParams::read(&call.parts)?;
    let author = author(&call.parts.headers)?;
    check_type(&call.parts.headers)?;
    let limit = call.app.max_component_bytes;
    if announced(&call.parts.headers).is_some_and(|length| length > limit as u64) {
        return Err(Failure::ComponentTooLarge(limit));
    }
    let _place = call.app.uploads.acquire().await;
    let wasm = read(call.body, limit).await?;
    let format = call.format;
    call.app
        .clone()
        .blocking(move |app| {
            let id = Id::new(Kind::Component, name(&wasm)?);
            if let Some(there) = there(app, &id, format)? {
                return Ok(there);
            }
            let component = v1::Component {
                name: id.name.to_string(),
                wasm,
                ..v1::Component::default()
            };
            let put = v1::Resource {
                kind: Some(v1::resource::Kind::Component(component)),
            };
            let made = app.commit(Transaction {
                author,
                message,
                operations: vec![Operation {
                    id: id.clone(),
                    put: Some(put),
                    condition: Condition::Absent,
                }],
                dry_run,
                ..Transaction::default()
            });
            match made {
                Ok(committed) => written(&id, &committed, format),
                // Someone else was faster, with the same bytes.
                Err(CommitError::Unmet(unmet))
                    if matches!(unmet.as_slice(), [Unmet::Exists(_)]) =>
                {
                    there(app, &id, format)?.ok_or_else(|| CommitError::Unmet(unmet).into())
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
}

/// The answer where the component is there already.
fn there(
    app: &App,
    id: &Id,
    format: fleetway_api::document::Format,
) -> Result<Option<Response>, Failure> {
    let snapshot = app.committer.snapshot();
    let Some(entry) = snapshot.get(id) else {
        return Ok(None);
    };
    let mut response = reply(
        StatusCode::OK,
        format,
        &document(entry, snapshot.revision())?,
    )?;
    set(&mut response, header::ETAG, &etag(entry.data.version));
    Ok(Some(response))
}

fn name(wasm: &[u8]) -> Result<Name, Failure> {
    Name::new(&component_digest(wasm)).map_err(|error| Failure::Internal(error.to_string()))
}

fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(header::CONTENT_TYPE);
    let text = given.map_or_else(Default::default, |value| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    });
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(WASM) {
        Ok(())
    } else {
        Err(Failure::NotWasm(text))
    }
}

/// Reads the bytes as they come. What begins as no component is not read to its end.
async fn read(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let began = Instant::now();
    let mut body = std::pin::pin!(TimeoutBody::new(BODY_SILENCE, body));
    let mut bytes: Vec<u8> = Vec::new();
    let mut known = false;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::bad("body", format!("broke off: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit - bytes.len() {
            return Err(Failure::ComponentTooLarge(limit));
        }
        bytes.extend_from_slice(&data);
        let slowest = BODY_SILENCE + Duration::from_secs((bytes.len() / RATE) as u64);
        if began.elapsed() > slowest {
            let slow = format!("comes more slowly than {RATE} bytes a second");
            return Err(Failure::bad("body", slow));
        }
        if !known && bytes.len() >= PREAMBLE {
            check(&bytes)?;
            known = true;
        }
    }
    check(&bytes)?;
    Ok(bytes.into())
}

fn check(bytes: &[u8]) -> Result<(), Failure> {
    Component::check_bytes(bytes)
        .map_err(|fault| vec![FieldError::new("components", "wasm", fault)].into())
}

/// `GET /v1/components/{name}/wasm`
pub(super) fn wasm(call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    let snapshot = call.app.committer.snapshot();
    let entry = find(&snapshot, &resources::id(Kind::Component, &call.target)?)?;
    let version = entry.data.version;
    let mut response = match &entry.resource {
        _ if not_modified(&call.parts.headers, version)? => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        Resource::Component(component) => with_type(WASM, component.wasm.clone()),
        other => return Err(Failure::Internal(format!("{} is no component", other.id()))),
    };
    set(&mut response, header::ETAG, &etag(version));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// An upload of 4 MiB in pieces of 64 KiB, with a pause before each.
    async fn uploaded(pause: Duration) -> Result<usize, String> {
        let mut first = vec![0; 64 << 10];
        first[..PREAMBLE].copy_from_slice(b"\0asm\x0d\0\x01\0");
        let pieces = stream::unfold(0, move |index| {
            let piece = match index {
                0 => first.clone(),
                _ => vec![0; 64 << 10],
            };
            async move {
                tokio::time::sleep(pause).await;
                (index < 64).then_some((Ok::<_, std::io::Error>(piece), index + 1))
            }
        });
        let read = read(Body::from_stream(pieces), 64 << 20).await;
        let read = read.map(|bytes| bytes.len());
        read.map_err(|failure| format!("{failure:?}"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_comes_at_the_least_rate_or_is_cut() {
        assert_eq!(uploaded(Duration::from_millis(900)).await, Ok(4 << 20));
        // Each piece comes in time, and the whole would take four times as long as it may.
        let error = uploaded(Duration::from_secs(4)).await.expect_err("cut");
        assert!(error.contains("more slowly than 65536 bytes"), "{error}");
    }
}
