//! The validated action of a route.

use std::time::Duration;

use bytes::Bytes;
use fleetway_proto::v1;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    PathMatch, Template, Upgrades, WeightedCluster, header_rules,
    host::{is_dns_name, is_ip_literal},
    read_limit,
    route_match::is_path,
    upgrades,
    weighted::read_clusters,
};
use crate::error::Checker;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Send it to a cluster.
    Forward(Box<Forward>),
    /// Tell the client to go elsewhere.
    Redirect(Box<Redirect>),
    /// Answer it here.
    Respond(Box<DirectResponse>),
}

/// Send the request to a cluster.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The clusters that share the requests; at least one has a weight above 0.
    pub clusters: Box<[WeightedCluster]>,
    /// From the request's head to the last byte of the response; `None` for no limit.
    pub timeout: Option<Duration>,
    /// The longest time without a byte in either direction; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// The longest body of a request, in bytes; `None` for no limit.
    pub max_request_body: Option<u32>,
    /// What the upstream sees in place of the client's path and host. Boxed, as most routes have
    /// none.
    pub rewrite: Option<Box<Rewrite>>,
    /// The protocols clients may change to.
    pub upgrades: Upgrades,
    /// The longest time without a byte in a tunnel; `None` for no limit.
    pub tunnel_idle_timeout: Option<Duration>,
    /// Take CONNECT as well.
    pub connect: bool,
}

/// What the upstream sees in place of the client's path and host.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// What becomes of the path.
    pub path: PathRewrite,
    /// The host in place of the client's.
    pub host: Option<HeaderValue>,
}

impl Forward {
    /// What becomes of the path.
    #[must_use]
    pub fn path(&self) -> &PathRewrite {
        self.rewrite
            .as_ref()
            .map_or(&PathRewrite::Keep, |rewrite| &rewrite.path)
    }

    /// The host sent upstream in place of the client's.
    #[must_use]
    pub fn host(&self) -> Option<&HeaderValue> {
        self.rewrite.as_ref()?.host.as_ref()
    }
}

/// What becomes of the path on its way upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// It stays.
    Keep,
    /// Put in place of the matched prefix, without a slash at the end.
    Prefix(Box<str>),
    /// The whole new path, from the captures of the match.
    Template(Template),
}

/// Tell the client to go elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// True for `https`, false for `http`, `None` for the request's.
    pub https: Option<bool>,
    /// The host; `None` for the request's.
    pub host: Option<Box<str>>,
    /// The port; `None` for the request's, unless the scheme changes.
    pub port: Option<u16>,
    /// What becomes of the path.
    pub path: RedirectPath,
    /// Leave the query out.
    pub strip_query: bool,
}

/// What becomes of the path in a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// It stays.
    Keep,
    /// The whole new path.
    Full(Box<str>),
    /// Put in place of the matched prefix, without a slash at the end.
    Prefix(Box<str>),
}

/// An answer made by the proxy itself.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// Up to 64 KiB.
    pub body: Bytes,
    /// With `content-type` where there is a body.
    pub headers: HeaderMap,
}

/// The longest body of a request where a route does not say, in bytes.
const MAX_REQUEST_BODY: u32 = 10 * 1024 * 1024;
const MAX_BODY: usize = 64 * 1024;

pub(super) fn read(
    check: &mut Checker,
    message: v1::route::Action,
    path: Option<&PathMatch>,
) -> Option<Action> {
    match message {
        v1::route::Action::Forward(forward) => Some(Action::Forward(Box::new(read_forward(
            check, forward, path,
        )))),
        v1::route::Action::Redirect(redirect) => read_redirect(check, redirect, path)
            .map(|redirect| Action::Redirect(Box::new(redirect))),
        v1::route::Action::Respond(respond) => {
            read_respond(check, respond).map(|respond| Action::Respond(Box::new(respond)))
        }
    }
}

fn read_forward(check: &mut Checker, message: v1::Forward, path: Option<&PathMatch>) -> Forward {
    let clusters = read_clusters(check, "forward.clusters", message.clusters, "requests");
    Forward {
        clusters,
        timeout: read_limit(
            check,
            "forward.timeout",
            message.timeout,
            Duration::from_secs(15),
        ),
        idle_timeout: read_limit(
            check,
            "forward.idle_timeout",
            message.idle_timeout,
            Duration::from_secs(60),
        ),
        max_request_body: match message.max_request_body_bytes {
            Some(0) => None,
            given => Some(given.unwrap_or(MAX_REQUEST_BODY)),
        },
        rewrite: message
            .rewrite
            .map(|rewrite| Box::new(read_rewrite(check, rewrite, path))),
        upgrades: upgrades::read(check, message.upgrades),
        connect: message.connect,
        tunnel_idle_timeout: read_limit(
            check,
            "forward.tunnel_idle_timeout",
            message.tunnel_idle_timeout,
            Duration::from_secs(3600),
        ),
    }
}

fn read_rewrite(check: &mut Checker, rewrite: v1::Rewrite, path: Option<&PathMatch>) -> Rewrite {
    let host = (!rewrite.host.is_empty())
        .then(|| {
            check.take(
                || "forward.rewrite.host".into(),
                read_authority(&rewrite.host),
            )
        })
        .flatten();
    Rewrite {
        path: read_path_rewrite(check, rewrite.path, path),
        host,
    }
}

fn read_path_rewrite(
    check: &mut Checker,
    message: Option<v1::rewrite::Path>,
    path: Option<&PathMatch>,
) -> PathRewrite {
    match message {
        None => PathRewrite::Keep,
        Some(v1::rewrite::Path::Prefix(prefix)) => {
            read_prefix(check, "forward.rewrite.prefix", &prefix, path)
                .map_or(PathRewrite::Keep, PathRewrite::Prefix)
        }
        Some(v1::rewrite::Path::Template(text)) => {
            let field = "forward.rewrite.template";
            let parsed = is_path(&text)
                .map_err(str::to_owned)
                .and_then(|()| Template::parse(&text));
            let Some(template) = check.take(|| field.into(), parsed) else {
                return PathRewrite::Keep;
            };
            match path {
                Some(PathMatch::Template(matched)) => {
                    for name in template.captures() {
                        if !matched.captures().any(|known| known == name) {
                            check.fault(
                                field,
                                format!("{{{name}}} is not captured by match.path.template"),
                            );
                        }
                    }
                }
                Some(_) => check.fault(field, "needs a match.path.template to take captures from"),
                None => {}
            }
            PathRewrite::Template(template)
        }
    }
}

/// Reads what is put in place of a matched prefix.
fn read_prefix(
    check: &mut Checker,
    field: &str,
    text: &str,
    path: Option<&PathMatch>,
) -> Option<Box<str>> {
    if !matches!(path, None | Some(PathMatch::Prefix(_))) {
        check.fault(field, "needs a match.path.prefix to put it in place of");
    }
    check.take(|| field.into(), is_path(text))?;
    Some(text.strip_suffix('/').unwrap_or(text).into())
}

/// Reads `host` or `host:port`.
fn read_authority(text: &str) -> Result<HeaderValue, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let good = (is_dns_name(host) || is_ip_literal(host))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| good)
        .ok_or_else(|| format!("\"{text}\" is not HOST or HOST:PORT"))
}

fn read_redirect(
    check: &mut Checker,
    message: v1::Redirect,
    path: Option<&PathMatch>,
) -> Option<Redirect> {
    let status = match message.status {
        0 => Some(StatusCode::FOUND),
        301 | 302 | 303 | 307 | 308 => u16::try_from(message.status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok()),
        other => {
            check.fault(
                "redirect.status",
                format!("{other} is not 301, 302, 303, 307 or 308"),
            );
            None
        }
    };
    let https = match message.scheme.as_str() {
        "" => None,
        "http" => Some(false),
        "https" => Some(true),
        other => {
            check.fault(
                "redirect.scheme",
                format!("\"{other}\" is not http or https"),
            );
            None
        }
    };
    if !message.host.is_empty() && !is_dns_name(&message.host) && !is_ip_literal(&message.host) {
        check.fault(
            "redirect.host",
            format!("\"{}\" is not a host name", message.host),
        );
    }
    let port = check.take(
        || "redirect.port".into(),
        u16::try_from(message.port).map_err(|_| "must be between 1 and 65535"),
    )?;
    let target = match message.path_rewrite {
        None => RedirectPath::Keep,
        Some(v1::redirect::PathRewrite::Path(text)) => {
            check.take(|| "redirect.path".into(), is_path(&text))?;
            RedirectPath::Full(text.into())
        }
        Some(v1::redirect::PathRewrite::Prefix(text)) => {
            RedirectPath::Prefix(read_prefix(check, "redirect.prefix", &text, path)?)
        }
    };
    if https.is_none()
        && message.host.is_empty()
        && port == 0
        && target == RedirectPath::Keep
        && !message.strip_query
    {
        check.fault(
            "redirect",
            "leads to where the request came from: set scheme, host, port, path, prefix or strip_query",
        );
    }
    Some(Redirect {
        status: status?,
        https,
        host: (!message.host.is_empty()).then(|| message.host.into()),
        port: (port != 0).then_some(port),
        path: target,
        strip_query: message.strip_query,
    })
}

fn read_respond(check: &mut Checker, message: v1::DirectResponse) -> Option<DirectResponse> {
    let status = match u16::try_from(message.status) {
        Ok(status @ 200..=599) => StatusCode::from_u16(status).ok(),
        _ => None,
    };
    if status.is_none() {
        check.fault("respond.status", "must be between 200 and 599");
    }
    if message.body.len() > MAX_BODY {
        check.fault(
            "respond.body",
            format!("must be at most {MAX_BODY} bytes long"),
        );
    }
    if !message.body.is_empty() && matches!(message.status, 204 | 205 | 304) {
        check.fault(
            "respond.body",
            format!("status {} carries no body", message.status),
        );
    }
    let mut headers = HeaderMap::new();
    for (index, entry) in message.headers.into_iter().enumerate() {
        let field = |part: &str| format!("respond.headers[{index}].{part}");
        let name = HeaderName::from_bytes(entry.name.as_bytes())
            .map_err(|_| format!("\"{}\" is not a header field name", entry.name));
        let name = check.take(|| field("name"), name);
        let value = HeaderValue::from_str(&entry.value)
            .map_err(|_| "has a character that a header field cannot carry");
        let value = check.take(|| field("value"), value);
        if let (Some(name), Some(value)) = (name, value) {
            if header_rules::is_of_message(&name) {
                check.fault(field("name"), format!("{name} is set by the proxy"));
            }
            headers.append(name, value);
        }
    }
    if !message.body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
    }
    Some(DirectResponse {
        status: status?,
        body: message.body.into(),
        headers,
    })
}
