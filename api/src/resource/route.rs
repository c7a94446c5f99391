//! The validated route.

use std::fmt::Write as _;

use fleetway_proto::v1;

use super::{
    Action, Common, HeaderMatch, HeaderRules, HostPattern, PathMatch, PolicyAttachment, QueryMatch,
    header_rules::Direction, label, policy_attachment, read_common, route_action, route_match,
};
use crate::{FieldError, Kind, Name, error::Checker};

/// Which requests are taken and what becomes of them.
#[derive(Debug, Clone)]
pub struct Route {
    /// Name, fleets, labels.
    pub common: Common,
    /// The listeners it serves; empty means every HTTP listener of its fleets.
    pub listeners: Box<[Name]>,
    /// Routes of higher priority are tried first.
    pub priority: i32,
    /// The hosts it takes, at least one, none twice.
    pub hosts: Box<[HostPattern]>,
    /// The paths it takes.
    pub path: PathMatch,
    /// The methods it takes; empty means any.
    pub methods: Box<[http::Method]>,
    /// Conditions on header fields; all must hold.
    pub headers: Box<[HeaderMatch]>,
    /// Conditions on query parameters; all must hold.
    pub query: Box<[QueryMatch]>,
    /// Tags that policies must have set, each with its value, by key.
    pub tags: Box<[(Box<str>, Box<str>)]>,
    /// The policies that run for its requests, in their order.
    pub policies: Box<[PolicyAttachment]>,
    /// What becomes of the request.
    pub action: Action,
    /// What is changed in requests on their way upstream. Boxed, as most routes change nothing.
    pub request_headers: Option<Box<HeaderRules>>,
    /// What is changed in responses.
    pub response_headers: Option<Box<HeaderRules>>,
}

impl Route {
    pub(super) fn read(message: v1::Route) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Route, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let listeners = read_listeners(&mut check, &message.listeners);
        if !(-1_000_000..=1_000_000).contains(&message.priority) {
            check.fault("priority", "must be between -1000000 and 1000000");
        }
        let matching = message.r#match.unwrap_or_default();
        let hosts = route_match::read_hosts(&mut check, &matching.hosts);
        let path = route_match::read_path(&mut check, matching.path);
        let methods = route_match::read_methods(&mut check, &matching.methods);
        let headers = route_match::read_headers(&mut check, matching.headers);
        let query = route_match::read_query(&mut check, matching.query);
        let tags = route_match::read_tags(&mut check, matching.tags);
        let forwards = matches!(message.action, None | Some(v1::route::Action::Forward(_)));
        let policies =
            policy_attachment::read_all(&mut check, "policies", message.policies, forwards);
        let action = match message.action {
            Some(action) => route_action::read(&mut check, action, path.as_ref()),
            None => {
                check.fault(
                    "",
                    "has no action: give it `forward`, `redirect` or `respond`",
                );
                None
            }
        };
        let request_headers = HeaderRules::read(
            &mut check,
            Direction::Request,
            "request_headers",
            message.request_headers,
        );
        if request_headers.is_some() && !matches!(action, None | Some(Action::Forward(_))) {
            check.fault(
                "request_headers",
                "is for routes with `forward`, others send no request on: leave it out",
            );
        }
        let response_headers = HeaderRules::read(
            &mut check,
            Direction::Response,
            "response_headers",
            message.response_headers,
        );
        match (common, path, action) {
            (Some(common), Some(path), Some(action)) if check.is_clean() => Ok(Self {
                common,
                listeners,
                priority: message.priority,
                hosts,
                path,
                methods,
                headers,
                query,
                tags,
                policies,
                action,
                request_headers,
                response_headers,
            }),
            _ => Err(check.finish()),
        }
    }

    /// Its match without the hosts, and its priority, in one canonical text: two routes with equal
    /// texts and a host in common take the same requests.
    #[must_use]
    pub(super) fn match_key(&self) -> String {
        let mut key = format!("{} {}", self.priority, self.path.key());
        let mut methods: Vec<_> = self.methods.iter().map(http::Method::as_str).collect();
        methods.sort_unstable();
        let mut conditions: Vec<_> = self
            .headers
            .iter()
            .map(|header| {
                format!(
                    "h {} {} {:?}",
                    header.name,
                    header.invert,
                    header.value.key()
                )
            })
            .chain(self.query.iter().map(|parameter| {
                format!(
                    "q {:?} {} {:?}",
                    parameter.name,
                    parameter.invert,
                    parameter.value.key()
                )
            }))
            .chain(
                self.tags
                    .iter()
                    .map(|(key, value)| format!("t {key:?} {value:?}")),
            )
            .collect();
        conditions.sort_unstable();
        // Writing to a string cannot fail.
        let _ = write!(key, " {methods:?} {conditions:?}");
        key
    }
}

fn read_listeners(check: &mut Checker, names: &[String]) -> Box<[Name]> {
    let mut listeners: Vec<Name> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let Some(name) = check.take(|| format!("listeners[{index}]"), Name::new(name)) else {
            continue;
        };
        if listeners.contains(&name) {
            check.fault(
                format!("listeners[{index}]"),
                format!("names {name} a second time"),
            );
        } else {
            listeners.push(name);
        }
    }
    listeners.into()
}
