//! What holds of rewritten paths and redirects, whatever routes and requests say.
#![allow(
    clippy::indexing_slicing,
    reason = "a property that does not hold is to be loud"
)]

use fleetway_api::{
    Action, PathMatch, Resource, Route,
    document::{self, Expected},
};
use http::uri::PathAndQuery;
use serde_json::{Value, json};

use super::rewrite::{Origin, location, upstream_path};

/// Four lines: what the route matches and the path it makes of that, each a prefix, or a template
/// where it has braces; an authority; a path with its query. What is made of them is a path, keeps
/// the query, and leads to no other host.
///
/// # Panics
/// Where that does not hold.
pub fn rewrite(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (matched, new, authority, path) = (line(), line(), line(), line());
    let Ok(path) = PathAndQuery::try_from(path) else {
        return;
    };
    let kind = |text: &str| {
        if text.contains('{') {
            "template"
        } else {
            "prefix"
        }
    };
    let matches = json!({"path": {kind(matched): matched}});
    let forward = json!({"clusters": [{"name": "c"}], "rewrite": {kind(new): new}});
    let made = |action: Value| route(action).filter(|route| takes(route, path.path()));
    if let Some(route) = made(json!({"match": &matches, "forward": forward})) {
        upstream(&route, &path);
    }
    let redirect = json!({"prefix": new});
    if let Some(route) = made(json!({"match": &matches, "redirect": redirect})) {
        redirected(&route, authority, &path);
    }
}

/// The route of a document, if it is one.
fn route(mut document: Value) -> Option<Route> {
    document["kind"] = "Route".into();
    document["name"] = "r".into();
    let document = document::read(document, Expected::default(), "input").ok()?;
    match Resource::read(document.message).ok()? {
        Resource::Route(route) => Some(*route),
        _ => None,
    }
}

/// Whether the route takes the path: by whole segments.
fn takes(route: &Route, path: &str) -> bool {
    match &route.path {
        PathMatch::Prefix(prefix) => path
            .strip_prefix(&**prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathMatch::Template(template) => template.capture(path).is_some(),
        _ => false,
    }
}

fn upstream(route: &Route, path: &PathAndQuery) {
    let Action::Forward(forward) = &route.action else {
        return;
    };
    let Ok(Some(new)) = upstream_path(forward, &route.path, path) else {
        return;
    };
    assert!(
        new.path().starts_with('/') && !new.path().starts_with("//"),
        "{new}"
    );
    assert_eq!(new.query(), path.query(), "{new}");
    assert!(!new.as_str().contains(['#', ' ', '\r', '\n']), "{new}");
}

fn redirected(route: &Route, authority: &str, path: &PathAndQuery) {
    let Action::Redirect(redirect) = &route.action else {
        return;
    };
    if !(authority.is_empty() || crate::http1::is_host(authority.as_bytes())) {
        return;
    }
    for https in [false, true] {
        let origin = Origin {
            https,
            authority,
            path,
        };
        let Ok(location) = location(redirect, &route.path, origin) else {
            continue;
        };
        // A query stays as it came, beyond ASCII too.
        let location = str::from_utf8(location.as_bytes()).expect("made of text");
        let path = if authority.is_empty() {
            location
        } else {
            let scheme = if https { "https://" } else { "http://" };
            let rest = location.strip_prefix(scheme).expect("a scheme");
            let (host, port) = super::split_port(authority);
            let rest = rest.strip_prefix(host).expect("the host");
            let own = port.and_then(|port| port.parse::<u16>().ok());
            own.and_then(|port| rest.strip_prefix(&format!(":{port}")))
                .unwrap_or(rest)
        };
        assert!(path.starts_with('/'), "{location}");
        assert!(
            !authority.is_empty() || !path.starts_with("//"),
            "{location}"
        );
    }
}
