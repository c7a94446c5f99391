//! What a request says besides its path: parameters, headers, body.

use std::time::Duration;

use axum::{body::Body, extract::Query, http::request::Parts};
use bytes::Bytes;
use fleetway_api::{
    FieldError,
    document::Format,
    rest::{AUTHOR, IDEMPOTENCY_KEY, MERGE_PATCH_JSON},
};
use http::{HeaderMap, HeaderName, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tower_http::timeout::TimeoutBody;

use super::failure::Failure;

/// The longest message and author, in characters.
pub(super) const MAX_MESSAGE: usize = 4096;
pub(super) const MAX_AUTHOR: usize = 256;
/// How many faults of a query are told. Each takes a pass over the query.
const MAX_QUERY_FAULTS: usize = 100;
/// How long a body may stop coming.
pub(super) const BODY_SILENCE: Duration = Duration::from_secs(30);
/// The longest idempotency key.
pub(super) const MAX_KEY: usize = 255;

/// No query parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

/// The query parameters of a write.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WriteParams {
    pub(super) dry_run: bool,
    pub(super) message: String,
}

/// The query parameters of a transaction, whose message is in the body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TransactionParams {
    pub(super) dry_run: bool,
}

/// Reads the query; what is not in `T` is refused by its name.
pub(super) fn params<T: DeserializeOwned>(parts: &Parts) -> Result<T, Failure> {
    let mut faults = Faults::default();
    let read = faults.params(parts);
    faults.check()?;
    read.ok_or_else(|| Failure::Internal("a query without faults cannot be read".to_owned()))
}

/// The faults of a request's head, so that all are told at once.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FieldError>);

impl Faults {
    /// Reads the query. A parameter that cannot be read is left out of the result; after a hundred
    /// of them the rest is not read.
    pub(super) fn params<T: DeserializeOwned>(&mut self, parts: &Parts) -> Option<T> {
        let mut query = parts.uri.query().unwrap_or_default().to_owned();
        for _ in 0..MAX_QUERY_FAULTS {
            let uri = Uri::try_from(format!("/?{query}")).unwrap_or_else(|_| parts.uri.clone());
            let text = match Query::<T>::try_from_uri(&uri) {
                Ok(Query(read)) => return Some(read),
                Err(rejection) => rejection.body_text(),
            };
            let reason = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            let (key, reason) = match reason.split_once(": ") {
                Some((key, reason)) if !key.contains(' ') => (key, reason),
                _ => ("query", reason),
            };
            let fault = FieldError::new("", key, reason.replace('`', "\""));
            self.0.push(fault);
            let rest: Vec<&str> = query
                .split('&')
                .filter(|pair| pair.split('=').next() != Some(key))
                .collect();
            let rest = rest.join("&");
            if rest.len() == query.len() {
                return None;
            }
            query = rest;
        }
        let message = format!("has {MAX_QUERY_FAULTS} faults or more, it is read no further");
        self.0.push(FieldError::new("", "query", message));
        None
    }

    /// The value, or `default` and its faults.
    pub(super) fn take<V>(&mut self, read: Result<V, Failure>, default: V) -> Result<V, Failure> {
        match read {
            Err(Failure::BadRequest(faults)) => {
                self.0.extend(faults);
                Ok(default)
            }
            other => other,
        }
    }

    /// Ends the request if there are any.
    pub(super) fn check(self) -> Result<(), Failure> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Failure::BadRequest(self.0))
        }
    }
}

/// Checks a message for the revision log.
pub(super) fn check_message(message: &str) -> Result<(), String> {
    if message.chars().count() > MAX_MESSAGE {
        return Err(format!("must be at most {MAX_MESSAGE} characters"));
    }
    if message
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err("must not hold control characters".to_owned());
    }
    Ok(())
}

impl WriteParams {
    pub(super) fn read(parts: &Parts) -> Result<Self, Failure> {
        let read: Self = params(parts)?;
        check_message(&read.message).map_err(|error| Failure::bad("message", error))?;
        Ok(read)
    }
}

/// Who makes the change.
pub(super) fn author(headers: &HeaderMap) -> Result<String, Failure> {
    let Some(author) = text_header(headers, &HeaderName::from_static(AUTHOR))? else {
        return Ok("anonymous".to_owned());
    };
    let author = author.trim();
    let length = author.chars().count();
    if length == 0 || length > MAX_AUTHOR || author.chars().any(char::is_control) {
        return Err(Failure::bad(
            AUTHOR,
            format!("must be 1 to {MAX_AUTHOR} printable characters"),
        ));
    }
    Ok(author.to_owned())
}

/// The idempotency key, if there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(key) = text_header(headers, &HeaderName::from_static(IDEMPOTENCY_KEY))? else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|c| (0x20..0x7f).contains(&c)) {
        return Err(Failure::bad(
            IDEMPOTENCY_KEY,
            format!("must be 1 to {MAX_KEY} printable ASCII characters"),
        ));
    }
    Ok(Some(key.to_owned()))
}

fn text_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Failure::bad(name.as_str(), "is there more than once"));
    }
    std::str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| Failure::bad(name.as_str(), "is not UTF-8"))
}

/// A body with how it is written.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    bytes: Bytes,
}

impl Text {
    /// Reads the body, up to `limit` bytes.
    pub(super) async fn read(parts: &Parts, body: Body, limit: usize) -> Result<Self, Failure> {
        let format = format(&parts.headers)?;
        if announced(&parts.headers).is_some_and(|length| length > limit as u64) {
            return Err(Failure::TooLarge(limit));
        }
        let body = TimeoutBody::new(BODY_SILENCE, body);
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Self {
                format,
                bytes: body.to_bytes(),
            }),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge(limit)),
            Err(error) => Err(Failure::bad("body", format!("broke off: {error}"))),
        }
    }

    /// The one document it holds.
    pub(super) fn document(&self) -> Result<serde_json::Value, Failure> {
        let text = std::str::from_utf8(&self.bytes)
            .map_err(|error| Failure::bad("body", format!("is not UTF-8: {error}")))?;
        fleetway_api::document::parse_one(text, self.format)
            .map_err(|error| Failure::bad("body", error.message))
    }

    /// Tells this body from any other, in hexadecimal.
    pub(super) fn fingerprint(&self) -> String {
        let hash = Sha256::new()
            .chain_update([u8::from(self.format == Format::Yaml)])
            .chain_update(&self.bytes)
            .finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The length of the body, if it is told beforehand.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The format by the content type; JSON where there is none.
fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Format::Json);
    };
    let unsupported =
        || Failure::UnsupportedMediaType(String::from_utf8_lossy(value.as_bytes()).into_owned());
    let text = value.to_str().map_err(|_| unsupported())?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    media_type(essence).ok_or_else(unsupported)
}

/// The format a media type names.
pub(super) fn media_type(essence: &str) -> Option<Format> {
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/json") || is(MERGE_PATCH_JSON) || is("text/json") {
        Some(Format::Json)
    } else if is(fleetway_api::rest::YAML)
        || is("application/x-yaml")
        || is("text/yaml")
        || is("text/x-yaml")
    {
        Some(Format::Yaml)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::Request;

    use super::*;

    #[test]
    fn a_query_is_read_no_further_after_a_hundred_faults() {
        let faults = |count: usize| {
            let query: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
            let uri = format!("/?{}", query.join("&"));
            let (parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
            let mut faults = Faults::default();
            let read = faults.params::<WriteParams>(&parts);
            (read.is_some(), faults.0)
        };
        let (read, few) = faults(3);
        assert!(read);
        assert_eq!(few.len(), 3, "{few:?}");
        let (read, many) = faults(10_000);
        assert!(!read);
        assert_eq!(many.len(), MAX_QUERY_FAULTS + 1);
        assert_eq!(many[0].field, "k0");
        assert_eq!(
            many[MAX_QUERY_FAULTS].to_string(),
            "query: has 100 faults or more, it is read no further"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_not_waited_for() {
        let (parts, ()) = Request::new(()).into_parts();
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let failure = Text::read(&parts, body, 1000).await.unwrap_err();
        assert!(matches!(failure, Failure::BadRequest(_)), "{failure}");
    }
}
