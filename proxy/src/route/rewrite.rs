//! What a route makes of a request's path, and where a redirect leads.
//!
//! A path that is changed never begins with two slashes, which some servers and every browser
//! would take for a host; a path that stays is passed on as it came.

use std::{borrow::Cow, fmt::Write as _};

use fleetway_api::{Forward, PathMatch, PathRewrite, Redirect, RedirectPath, Segment, Template};
use http::{
    HeaderValue,
    header::InvalidHeaderValue,
    uri::{InvalidUri, PathAndQuery},
};

use super::split_port;

/// What the upstream gets as path and query; `None` where it is what the client sent. `matched` is
/// the path condition of the route that took the request.
///
/// # Errors
/// When the new path and query are longer than 65,534 bytes or have a character no URI has.
pub fn upstream_path(
    forward: &Forward,
    matched: &PathMatch,
    original: &PathAndQuery,
) -> Result<Option<PathAndQuery>, InvalidUri> {
    let path = original.path();
    let new = match forward.path() {
        PathRewrite::Keep => None,
        PathRewrite::Prefix(prefix) => replace_prefix(prefix, matched, path),
        PathRewrite::Template(template) => fill(template, matched, path),
    };
    let Some(mut new) = new else { return Ok(None) };
    push_query(&mut new, original);
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(new)).map(Some)
}

/// Where a request came in, as far as a redirect keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'r> {
    /// Whether the client speaks TLS to this listener.
    pub https: bool,
    /// The authority or `Host` value, with the port if it has one; empty if the request has none.
    pub authority: &'r str,
    /// Path and query.
    pub path: &'r PathAndQuery,
}

/// The `Location` of a redirect. `matched` is the path condition of the route that took the
/// request.
///
/// It is absolute. Only if neither the request nor the route names a host it is a path alone, and
/// scheme and port stay as they are.
///
/// # Errors
/// When the request's authority has characters that a header field cannot carry.
pub fn location(
    redirect: &Redirect,
    matched: &PathMatch,
    origin: Origin<'_>,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let (own_host, own_port) = split_port(origin.authority);
    let host = redirect.host.as_deref().unwrap_or(own_host);
    let https = redirect.https.unwrap_or(origin.https);
    let own_port = own_port
        .and_then(|port| port.parse().ok())
        .filter(|_| https == origin.https);
    let port = redirect
        .port
        .or(own_port)
        .filter(|port| *port != if https { 443 } else { 80 });

    let path = match origin.path.path() {
        path if path.starts_with('/') => path,
        // The `*` of OPTIONS names no place.
        _ => "/",
    };
    let path = match &redirect.path {
        RedirectPath::Keep => None,
        RedirectPath::Full(path) => Some(path.to_string()),
        RedirectPath::Prefix(prefix) => replace_prefix(prefix, matched, path),
    }
    .map_or(Cow::Borrowed(path), Cow::Owned);

    let mut location = String::with_capacity(16 + host.len() + origin.path.as_str().len());
    if host.is_empty() {
        location.push_str(&single_slash(path.into_owned()));
    } else {
        location.push_str(if https { "https://" } else { "http://" });
        if host.contains(':') && !host.starts_with('[') {
            // Writing to a string cannot fail.
            let _ = write!(location, "[{host}]");
        } else {
            location.push_str(host);
        }
        if let Some(port) = port {
            let _ = write!(location, ":{port}");
        }
        location.push_str(&path);
    }
    if !redirect.strip_query {
        push_query(&mut location, origin.path);
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(location))
}

/// `path` with `prefix`, which has no slash at its end, in place of what `matched` took.
fn replace_prefix(prefix: &str, matched: &PathMatch, path: &str) -> Option<String> {
    let PathMatch::Prefix(old) = matched else {
        return None;
    };
    // `*` has no segments to replace.
    let rest = path
        .strip_prefix(&**old)
        .filter(|_| path.starts_with('/'))?;
    let mut new = String::with_capacity(prefix.len() + rest.len() + 1);
    new.push_str(prefix);
    new.push_str(rest);
    if new.is_empty() {
        new.push('/');
    }
    Some(single_slash(new))
}

/// The path that `template` makes of the captures of `matched`.
fn fill(template: &Template, matched: &PathMatch, path: &str) -> Option<String> {
    let PathMatch::Template(matched) = matched else {
        return None;
    };
    let captured = matched.capture(path)?;
    let mut new = String::with_capacity(path.len() + 16);
    for segment in template.segments() {
        new.push('/');
        let text = match segment {
            Segment::Literal(text) => &**text,
            Segment::Capture(name) | Segment::Rest(name) => {
                let at = matched.captures().position(|other| other == &**name)?;
                captured.get(at).copied()?
            }
        };
        new.push_str(text);
    }
    Some(single_slash(new))
}

fn push_query(new: &mut String, original: &PathAndQuery) {
    if let Some(query) = original.query() {
        new.push('?');
        new.push_str(query);
    }
}

/// `//a` as `/a`.
fn single_slash(path: String) -> String {
    match path.strip_prefix("//") {
        Some(rest) => format!("/{}", rest.trim_start_matches('/')),
        None => path,
    }
}

#[cfg(test)]
mod tests;
