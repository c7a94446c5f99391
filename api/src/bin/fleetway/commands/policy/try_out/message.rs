//! Requests and responses as HTTP/1.1 has them: read from files, and written to be compared.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fleetway_api::{PathNormalization, component_digest, normalize};
use fleetway_policy_runtime::{Answer, Protocol};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request,
    response, uri::PathAndQuery,
};
use serde_json::{Value, json};

/// A head with its body.
#[derive(Debug)]
pub(super) struct Message<H> {
    pub(super) head: H,
    pub(super) body: Bytes,
}

/// The field of a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The largest body that is compared line by line.
const TEXT_MAX: usize = 1 << 20;

/// Reads a request.
///
/// # Errors
/// The line that is wrong, and what would be right.
pub(super) fn request(bytes: &[u8]) -> Result<Message<request::Parts>, String> {
    let (first, mut headers, rest) = head(bytes)?;
    let mut words = first.split_ascii_whitespace();
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("line 1: must be METHOD TARGET HTTP/1.1, such as GET / HTTP/1.1".into());
    };
    let version = read_version(version)?;
    let method = Method::from_bytes(method.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT)
        .ok_or_else(|| format!("line 1: {method} is no method that can be tried out"))?;
    let uri = read_target(target)?;
    if uri.authority().is_none() && !headers.contains_key(header::HOST) {
        return Err("has no host: add a field such as host: example.com".into());
    }
    let body = body(&mut headers, rest)?;
    let (mut head, ()) = http::Request::new(()).into_parts();
    (head.method, head.uri, head.version, head.headers) = (method, uri, version, headers);
    Ok(Message { head, body })
}

/// Reads a response.
///
/// # Errors
/// The line that is wrong, and what would be right.
pub(super) fn response(bytes: &[u8]) -> Result<Message<response::Parts>, String> {
    let (first, mut headers, rest) = head(bytes)?;
    let mut words = first.splitn(3, ' ');
    let version = read_version(words.next().unwrap_or_default())?;
    let status = words
        .next()
        .and_then(|word| StatusCode::from_bytes(word.as_bytes()).ok())
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or("line 1: must be HTTP/1.1 STATUS, such as HTTP/1.1 200 OK; the status 200 to 599")?;
    let body = body(&mut headers, rest)?;
    if has_no_body(status) && !body.is_empty() {
        return Err(format!(
            "a response of status {} has no body",
            status.as_u16()
        ));
    }
    let mut message = empty_response();
    let head = &mut message.head;
    (head.status, head.version, head.headers) = (status, version, headers);
    message.body = body;
    Ok(message)
}

/// Status 200 and nothing else.
pub(super) fn empty_response() -> Message<response::Parts> {
    let (head, ()) = http::Response::new(()).into_parts();
    Message {
        head,
        body: Bytes::new(),
    }
}

/// Whether responses of a status never have a body.
pub(super) const fn has_no_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT
    )
}

/// The id of a request: the one it has, else a new one, which it has from then on.
pub(super) fn request_id(headers: &mut HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = given.filter(|id| !id.is_empty()) {
        return id.to_owned();
    }
    let id = uuid::Uuid::new_v4().to_string();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    id
}

/// A version as policies are told of it.
pub(super) fn protocol(version: Version) -> Protocol {
    match version {
        Version::HTTP_10 => Protocol::Http10,
        _ => Protocol::Http11,
    }
}

/// The first line, the fields, and what is behind the empty line. Lines may end in LF alone.
fn head(bytes: &[u8]) -> Result<(&str, HeaderMap, &[u8]), String> {
    let mut rest = bytes;
    let mut first = None;
    let mut headers = HeaderMap::new();
    for number in 1.. {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = match end.and_then(|end| rest.split_at_checked(end)) {
            Some((line, after)) => (line, after.get(1..).unwrap_or_default()),
            None => (rest, &b""[..]),
        };
        rest = after;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let wrong = |what: &str| format!("line {number}: {what}");
        if first.is_none() {
            let text = std::str::from_utf8(line).map_err(|_| wrong("is no text"))?;
            first = Some(text);
            continue;
        }
        let (name, value) = field(line)
            .ok_or_else(|| wrong("must be NAME: VALUE; an empty line goes before the body"))?;
        if name == header::TRANSFER_ENCODING {
            return Err(wrong(
                "takes no transfer-encoding: write the body as it is, and leave the field out",
            ));
        }
        let appended = headers.try_append(name, value);
        appended.map_err(|_| wrong("is one field too many"))?;
    }
    let first = first.ok_or("line 1: is empty: begin with the first line of the message")?;
    Ok((first, headers, rest))
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.get(1..)?.trim_ascii();
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

fn read_version(word: &str) -> Result<Version, String> {
    match word {
        "HTTP/1.1" => Ok(Version::HTTP_11),
        "HTTP/1.0" => Ok(Version::HTTP_10),
        other => Err(format!(
            "line 1: \"{other}\" is not HTTP/1.1 or HTTP/1.0, the versions that can be written as text"
        )),
    }
}

/// The target with its path in the normal form, as policies see it.
fn read_target(text: &str) -> Result<Uri, String> {
    let no_target = || format!("line 1: \"{text}\" is no target: write a path such as /users?id=7");
    let uri: Uri = text.parse().map_err(|_| no_target())?;
    if !uri.path().starts_with('/') {
        return Err(no_target());
    }
    let path = normalize(uri.path(), &PathNormalization::default())
        .map_err(|fault| format!("line 1: {fault}, and a proxy refuses such a request"))?;
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let target: PathAndQuery = target.parse().map_err(|_| no_target())?;
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).map_err(|_| no_target())
}

/// The body: as long as the fields say, else all there is. They say how long it is afterwards.
fn body(headers: &mut HeaderMap, rest: &[u8]) -> Result<Bytes, String> {
    let Some(given) = headers.get(header::CONTENT_LENGTH) else {
        if !rest.is_empty() {
            headers.insert(header::CONTENT_LENGTH, rest.len().into());
        }
        return Ok(Bytes::copy_from_slice(rest));
    };
    let length = given
        .to_str()
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    let length = length.ok_or("content-length is no number: mend it, or leave it out")?;
    let (body, more) = rest.split_at_checked(length).ok_or_else(|| {
        format!(
            "content-length is {length}, and the body is {} bytes long: mend it, or leave it out",
            rest.len()
        )
    })?;
    // Editors end files with a line end.
    if !more.trim_ascii().is_empty() {
        return Err(format!(
            "content-length is {length}, and more is behind the body: mend it, or leave it out"
        ));
    }
    Ok(Bytes::copy_from_slice(body))
}

/// Has a message say how long its body is, or leaves that to its connection.
pub(super) fn set_length(headers: &mut HeaderMap, length: Option<usize>) {
    match length {
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
        None => drop(headers.remove(header::CONTENT_LENGTH)),
    }
}

/// A request as text, to be compared.
pub(super) fn request_text(head: &request::Parts, body: &[u8]) -> String {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut text = format!("{} {target} {:?}\n", head.method, head.version);
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(header::HOST)
    {
        let _ = writeln!(text, "host: {authority}");
    }
    put_rest(&mut text, &head.headers, body);
    text
}

/// A response as text, to be compared.
pub(super) fn response_text(head: &response::Parts, body: &[u8]) -> String {
    let mut text = format!("{:?} {}\n", head.version, head.status);
    put_rest(&mut text, &head.headers, body);
    text
}

/// Fields and body. Names are in order: that of a map changes where a field is taken out.
fn put_rest(text: &mut String, headers: &HeaderMap, body: &[u8]) {
    let mut names: Vec<&HeaderName> = headers.keys().collect();
    names.sort_unstable_by_key(|name| name.as_str());
    for name in names {
        for value in headers.get_all(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    text.push('\n');
    match std::str::from_utf8(body) {
        Ok(body) if body.len() <= TEXT_MAX => text.push_str(body),
        _ => {
            let digest = component_digest(body);
            let _ = writeln!(text, "({} bytes, SHA-256 {digest})", body.len());
        }
    }
}

/// A policy's answer as a response.
pub(super) fn of_answer(answer: &Answer) -> Message<response::Parts> {
    let mut message = empty_response();
    message.head.status = answer.status;
    message.head.headers = answer.headers.clone();
    set_length(&mut message.head.headers, Some(answer.body.len()));
    message.body = answer.body.clone();
    message
}

/// A request for programs.
pub(super) fn request_json(head: &request::Parts, body: &[u8]) -> Value {
    json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": fields_json(&head.headers),
        "body": text_or_base64(body),
    })
}

/// A response for programs.
pub(super) fn response_json(head: &response::Parts, body: &[u8]) -> Value {
    json!({
        "status": head.status.as_u16(),
        "headers": fields_json(&head.headers),
        "body": text_or_base64(body),
    })
}

fn fields_json(headers: &HeaderMap) -> Value {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    headers.iter().map(field).collect()
}

/// Text as it is, other bytes as `{"base64": …}`.
pub(super) fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

#[cfg(test)]
mod tests;
