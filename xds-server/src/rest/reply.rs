//! Answers, in the form the client asks for.

use axum::{body::Body, response::Response};
use fleetway_api::{
    Id,
    document::{self, Format},
    proto::v1,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::{failure::Failure, input::media_type};
use crate::{
    snapshot::{Entry, Snapshot},
    store::StoreError,
};

/// The header that names the revision which holds a write.
pub(super) const REVISION: HeaderName = HeaderName::from_static("x-fleetway-revision");

/// What the client prefers of JSON and YAML; JSON where it names neither.
pub(super) fn accepted(headers: &HeaderMap) -> Format {
    let mut best = (Format::Json, 0_u16);
    for line in headers.get_all(header::ACCEPT) {
        for range in line.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default();
            let format = match media_type(essence) {
                Some(format) => format,
                None if matches!(essence, "*/*" | "application/*") => Format::Json,
                None => continue,
            };
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1000, thousandths);
            if weight > best.1 {
                best = (format, weight);
            }
        }
    }
    best.0
}

/// A weight such as `0.8` in thousandths, RFC 9110 section 12.4.2.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match whole {
        "0" => digits.parse().unwrap_or(0),
        "1" => 1000,
        _ => 0,
    }
}

/// An answer with a body.
pub(super) fn reply(
    status: StatusCode,
    format: Format,
    body: &impl Serialize,
) -> Result<Response, Failure> {
    let unwritable = |error: serde_json::Error| Failure::Internal(error.to_string());
    let (content_type, bytes) = match format {
        Format::Json => {
            let mut bytes = serde_json::to_vec(body).map_err(unwritable)?;
            bytes.push(b'\n');
            ("application/json", bytes)
        }
        Format::Yaml => {
            let value: Value = serde_json::to_value(body).map_err(unwritable)?;
            let text = document::to_text(&[value], Format::Yaml);
            (fleetway_api::rest::YAML, text.into_bytes())
        }
    };
    let mut response = with_type(content_type, bytes);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// An answer of one fixed type.
pub(super) fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sets a header to a text of digits, quotes and letters.
pub(super) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The document of a resource, read at `revision`.
pub(super) fn document(entry: &Entry, revision: u64) -> Result<Value, Failure> {
    let message = message(entry)?;
    let stored = &entry.data;
    let meta = v1::Meta {
        version: stored.version.to_string(),
        revision,
        created_at: time(stored.created_ms),
        updated_at: time(stored.updated_ms),
        updated_by: stored.updated_by.to_string(),
    };
    Ok(document::write(&message, Some(&meta)))
}

/// The message of a resource.
pub(super) fn message(entry: &Entry) -> Result<v1::Resource, Failure> {
    entry.data.encoded.decode().map_err(|error| {
        Failure::Store(StoreError::Format(format!(
            "{}: {error}",
            entry.resource.id()
        )))
    })
}

/// The resource, if the state has it.
pub(super) fn find<'a>(snapshot: &'a Snapshot, id: &Id) -> Result<&'a Entry, Failure> {
    snapshot
        .get(id)
        .map(AsRef::as_ref)
        .ok_or_else(|| Failure::NotFound(format!("there is no {id}")))
}

/// A time in milliseconds since 1970 as RFC 3339 has it.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_form_is_chosen_and_json_where_none_is() {
        for (accept, format) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("application/yaml", Format::Yaml),
            ("text/html, application/yaml;q=0.9, */*;q=0.1", Format::Yaml),
            ("application/yaml;q=0.5, application/json", Format::Json),
            ("text/html", Format::Json),
            ("application/yaml;q=0", Format::Json),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(accepted(&headers), format, "{accept}");
        }
    }
}
