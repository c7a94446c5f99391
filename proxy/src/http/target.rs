//! Where a request is meant to go: its host and path, from whichever form it came in.

use std::borrow::Cow;

use http::{HeaderMap, Method, Request, Uri, Version, header, request::Parts, uri::PathAndQuery};

use super::Failure;
use crate::http1::is_host;

/// What there is of a request besides its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its target.
    pub uri: &'r Uri,
    /// What it came in.
    pub version: Version,
    /// Its fields.
    pub headers: &'r HeaderMap,
}

impl<'r, B> From<&'r Request<B>> for Head<'r> {
    fn from(request: &'r Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        }
    }
}

impl<'r> From<&'r Parts> for Head<'r> {
    fn from(parts: &'r Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
        }
    }
}

/// The host and path of a request.
#[derive(Debug)]
pub struct Target<'r> {
    /// Host with port as the client gave it; empty where HTTP/1.0 gave none.
    pub authority: &'r str,
    /// The path and query.
    pub path: Cow<'r, PathAndQuery>,
}

impl<'r> Target<'r> {
    /// Reads it off a request.
    ///
    /// An absolute-form target's authority takes the place of `Host` (RFC 9112 section 3.2.2), as
    /// `:authority` does (RFC 9113 section 8.3.1).
    ///
    /// # Errors
    /// When there is no host, more than one, or one that is none.
    pub fn of(head: impl Into<Head<'r>>) -> Result<Self, Failure> {
        let head = head.into();
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Failure::BadRequest("more than one Host"));
        }
        let authority = match (head.uri.authority(), host) {
            (Some(authority), _) => {
                if authority.as_str().contains('@') {
                    return Err(Failure::BadRequest(
                        "user information in the request target",
                    ));
                }
                authority.as_str()
            }
            (None, Some(host)) => host
                .to_str()
                .map_err(|_| Failure::BadRequest("the Host is not a host name"))?,
            (None, None) if head.version == Version::HTTP_10 => {
                return Ok(Self {
                    authority: "",
                    path: path(head),
                });
            }
            (None, None) => return Err(Failure::BadRequest("no Host")),
        };
        if !is_host(authority.as_bytes()) {
            return Err(Failure::BadRequest("the Host is not a host name"));
        }
        let path = path(head);
        // RFC 9112 section 3.2.4; over HTTP/1 it does not come this far.
        if path.as_str() == "*" && *head.method != Method::OPTIONS {
            return Err(Failure::BadRequest("only OPTIONS can be about the server"));
        }
        Ok(Self { authority, path })
    }
}

fn path(head: Head<'_>) -> Cow<'_, PathAndQuery> {
    head.uri
        .path_and_query()
        .map_or_else(|| Cow::Owned(PathAndQuery::from_static("/")), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(request: http::request::Builder) -> Result<String, String> {
        let request = request.body(()).unwrap();
        Target::of(&request)
            .map(|target| format!("{} {}", target.authority, target.path))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_target_is_read_from_every_form() {
        let get = || Request::get("/a?b");
        assert_eq!(target(get().header("host", "x:80")), Ok("x:80 /a?b".into()));
        assert_eq!(
            target(Request::get("http://y/a").header("host", "x")),
            Ok("y /a".into())
        );
        assert_eq!(target(get().version(Version::HTTP_10)), Ok(" /a?b".into()));
    }

    #[test]
    fn a_request_without_one_clear_host_is_refused() {
        assert_eq!(target(Request::get("/")), Err("no Host".into()));
        assert_eq!(
            target(Request::get("/").header("host", "a").header("host", "a")),
            Err("more than one Host".into())
        );
        for host in ["a/b", "", ":80", ":::[[", "a:99999"] {
            assert_eq!(
                target(Request::get("/").header("host", host)),
                Err("the Host is not a host name".into())
            );
        }
        assert!(target(Request::get("*").header("host", "a")).is_err());
        assert!(target(Request::options("*").header("host", "a")).is_ok());
        assert!(target(Request::get("http://u@y/")).is_err());
    }
}
