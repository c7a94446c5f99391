//! The validated conditions of a route.

use std::{collections::BTreeMap, sync::Arc};

use fleetway_proto::v1;
use http::{HeaderName, Method};
use regex::{Regex, RegexBuilder};

use super::{HostPattern, Template};
use crate::error::{Checker, shortened};

/// The most hosts, methods or conditions one route may have of each.
const MAX_CONDITIONS: usize = 256;
/// The most tags.
const MAX_TAGS: usize = 32;
/// The longest key of a tag, in bytes.
const MAX_TAG_KEY: usize = 128;
/// The longest value of a tag, in bytes.
const MAX_TAG_VALUE: usize = 1024;
/// The longest path or pattern, in bytes.
const MAX_PATTERN: usize = 8192;
/// The most memory one compiled regular expression may take, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Which paths a route takes. Paths are compared without their query.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path. Shared, as a route table keeps it too.
    Exact(Arc<str>),
    /// Whole leading segments, held without a slash at the end; empty takes every path.
    Prefix(Arc<str>),
    /// Segments with captures.
    Template(Template),
    /// A regular expression, anchored at both ends.
    Regex(Regex),
}

impl PathMatch {
    /// One text for each set of paths: templates that differ in their captures' names are equal.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Exact(path) => format!("exact {path}"),
            Self::Prefix(path) => format!("prefix {path}"),
            Self::Template(template) => {
                let segments: Vec<&str> = template
                    .segments()
                    .iter()
                    .map(|segment| match segment {
                        super::Segment::Literal(text) => text,
                        super::Segment::Capture(_) => "{}",
                        super::Segment::Rest(_) => "{*}",
                    })
                    .collect();
                format!("template {}", segments.join("/"))
            }
            Self::Regex(regex) => format!("regex {regex}"),
        }
    }
}

/// A condition on a header field.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The field's name.
    pub name: HeaderName,
    /// Holds where the value condition does not.
    pub invert: bool,
    /// What one of its values must look like.
    pub value: ValueMatch,
}

/// A condition on a query parameter.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The parameter's name, decoded.
    pub name: Box<str>,
    /// Holds where the value condition does not.
    pub invert: bool,
    /// What one of its values, decoded, must look like.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// The whole value.
    Exact(Box<str>),
    /// Its beginning.
    Prefix(Box<str>),
    /// Its end.
    Suffix(Box<str>),
    /// A part of it.
    Contains(Box<str>),
    /// A regular expression, anchored at both ends.
    Regex(Regex),
    /// Whether it is there at all.
    Present(bool),
}

impl ValueMatch {
    /// Whether the condition holds for a field or parameter with these values.
    pub fn holds<'v>(&self, invert: bool, values: impl IntoIterator<Item = &'v [u8]>) -> bool {
        let mut values = values.into_iter();
        let found = match self {
            Self::Exact(want) => values.any(|value| value == want.as_bytes()),
            Self::Prefix(want) => values.any(|value| value.starts_with(want.as_bytes())),
            Self::Suffix(want) => values.any(|value| value.ends_with(want.as_bytes())),
            Self::Contains(want) => values.any(|value| {
                want.is_empty()
                    || value
                        .windows(want.len())
                        .any(|part| part == want.as_bytes())
            }),
            Self::Regex(regex) => values
                .any(|value| std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))),
            Self::Present(wanted) => values.next().is_some() == *wanted,
        };
        found != invert
    }

    pub(super) fn key(&self) -> (&'static str, &str) {
        match self {
            Self::Exact(text) => ("exact", text),
            Self::Prefix(text) => ("prefix", text),
            Self::Suffix(text) => ("suffix", text),
            Self::Contains(text) => ("contains", text),
            Self::Regex(regex) => ("regex", regex.as_str()),
            Self::Present(true) => ("present", ""),
            Self::Present(false) => ("absent", ""),
        }
    }
}

pub(super) fn read_hosts(check: &mut Checker, texts: &[String]) -> Box<[HostPattern]> {
    bounded(check, "match.hosts", texts.len());
    let mut hosts: Vec<HostPattern> = Vec::with_capacity(texts.len().max(1));
    for (index, text) in texts.iter().enumerate() {
        let field = || format!("match.hosts[{index}]");
        let Some(host) = check.take(field, HostPattern::parse(text)) else {
            continue;
        };
        if hosts.contains(&host) {
            check.fault(field(), format!("names {host} a second time"));
        } else {
            hosts.push(host);
        }
    }
    if texts.is_empty() {
        hosts.push(HostPattern::Any);
    }
    hosts.into()
}

pub(super) fn read_path(check: &mut Checker, message: Option<v1::PathMatch>) -> Option<PathMatch> {
    let Some(message) = message else {
        return Some(PathMatch::Prefix("".into()));
    };
    match message.kind {
        None => {
            check.fault(
                "match.path",
                "is empty: give it exact, prefix, template or regex",
            );
            None
        }
        Some(v1::path_match::Kind::Exact(path)) => {
            let path = check.take(|| "match.path.exact".into(), is_path(&path).map(|()| path))?;
            Some(PathMatch::Exact(path.into()))
        }
        Some(v1::path_match::Kind::Prefix(path)) => {
            let path = check.take(|| "match.path.prefix".into(), is_path(&path).map(|()| path))?;
            Some(PathMatch::Prefix(
                path.strip_suffix('/').unwrap_or(&path).into(),
            ))
        }
        Some(v1::path_match::Kind::Template(text)) => check
            .take(
                || "match.path.template".into(),
                is_path(&text)
                    .map_err(str::to_owned)
                    .and_then(|()| Template::parse(&text)),
            )
            .map(PathMatch::Template),
        Some(v1::path_match::Kind::Regex(text)) => check
            .take(|| "match.path.regex".into(), anchored(&text))
            .map(PathMatch::Regex),
    }
}

/// Whether `text` can be the path of a request: RFC 9112 section 3.2.1, before any `?`.
pub(super) fn is_path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("must begin with \"/\"");
    }
    if text.len() > MAX_PATTERN {
        return Err("must be at most 8192 bytes long");
    }
    if text.contains(['?', '#']) {
        return Err("must not contain \"?\" or \"#\": match the query with `query`");
    }
    // What `http` takes as a path: with others a route would never match, or its rewrite fail.
    let taken = |c: u8| c.is_ascii_graphic() && !matches!(c, b'<' | b'>' | b'`');
    if !text.bytes().all(taken) {
        return Err(
            "must be visible ASCII characters other than \"<\", \">\" and \"`\": percent-encode the others",
        );
    }
    Ok(())
}

pub(super) fn read_methods(check: &mut Checker, texts: &[String]) -> Box<[Method]> {
    bounded(check, "match.methods", texts.len());
    let mut methods: Vec<Method> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = || format!("match.methods[{index}]");
        let parsed = Method::from_bytes(text.as_bytes())
            .map_err(|_| format!("\"{text}\" is not a method name, such as GET"));
        let Some(method) = check.take(field, parsed) else {
            continue;
        };
        if methods.contains(&method) {
            check.fault(field(), format!("names {method} a second time"));
        } else {
            methods.push(method);
        }
    }
    methods.into()
}

pub(super) fn read_headers(
    check: &mut Checker,
    messages: Vec<v1::HeaderMatch>,
) -> Box<[HeaderMatch]> {
    use v1::header_match::Value;
    bounded(check, "match.headers", messages.len());
    let mut headers = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let field = format!("match.headers[{index}]");
        let name = HeaderName::from_bytes(message.name.as_bytes())
            .map_err(|_| format!("\"{}\" is not a header field name", message.name));
        let name = check.take(|| format!("{field}.name"), name);
        let value = match message.value {
            None => Some(ValueMatch::Present(true)),
            Some(Value::Exact(text)) => Some(ValueMatch::Exact(text.into())),
            Some(Value::Prefix(text)) => Some(ValueMatch::Prefix(text.into())),
            Some(Value::Suffix(text)) => Some(ValueMatch::Suffix(text.into())),
            Some(Value::Contains(text)) => Some(ValueMatch::Contains(text.into())),
            Some(Value::Present(wanted)) => Some(ValueMatch::Present(wanted)),
            Some(Value::Regex(text)) => check
                .take(|| format!("{field}.regex"), anchored(&text))
                .map(ValueMatch::Regex),
        };
        if let (Some(name), Some(value)) = (name, value) {
            headers.push(HeaderMatch {
                name,
                invert: message.invert,
                value,
            });
        }
    }
    headers.into()
}

pub(super) fn read_query(check: &mut Checker, messages: Vec<v1::QueryMatch>) -> Box<[QueryMatch]> {
    use v1::query_match::Value;
    bounded(check, "match.query", messages.len());
    let mut query = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let field = format!("match.query[{index}]");
        if message.name.is_empty() {
            check.fault(
                format!("{field}.name"),
                "is missing: write the parameter's name",
            );
        }
        let value = match message.value {
            None => Some(ValueMatch::Present(true)),
            Some(Value::Exact(text)) => Some(ValueMatch::Exact(text.into())),
            Some(Value::Prefix(text)) => Some(ValueMatch::Prefix(text.into())),
            Some(Value::Suffix(text)) => Some(ValueMatch::Suffix(text.into())),
            Some(Value::Contains(text)) => Some(ValueMatch::Contains(text.into())),
            Some(Value::Present(wanted)) => Some(ValueMatch::Present(wanted)),
            Some(Value::Regex(text)) => check
                .take(|| format!("{field}.regex"), anchored(&text))
                .map(ValueMatch::Regex),
        };
        if let Some(value) = value {
            query.push(QueryMatch {
                name: message.name.into(),
                invert: message.invert,
                value,
            });
        }
    }
    query.into()
}

/// Reads the tags that must have been set.
pub(super) fn read_tags(
    check: &mut Checker,
    tags: BTreeMap<String, String>,
) -> Box<[(Box<str>, Box<str>)]> {
    if tags.len() > MAX_TAGS {
        check.fault(
            "match.tags",
            format!("has {} entries, {MAX_TAGS} are the most", tags.len()),
        );
    }
    for (key, value) in &tags {
        if key.is_empty() || key.len() > MAX_TAG_KEY || value.len() > MAX_TAG_VALUE {
            check.fault(
                format!("match.tags.{}", shortened(key)),
                format!(
                    "must have a key of 1 to {MAX_TAG_KEY} bytes and a value of up to {MAX_TAG_VALUE}"
                ),
            );
        }
    }
    let tags = tags.into_iter();
    tags.map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// Compiles `pattern` so that it must match the whole text.
fn anchored(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() {
        return Err("is empty: write a regular expression".to_owned());
    }
    if pattern.len() > MAX_PATTERN {
        return Err(format!("must be at most {MAX_PATTERN} bytes long"));
    }
    // Compiled alone first: `a)(b` would be good only inside the anchors.
    Regex::new(pattern)
        .and_then(|_| {
            RegexBuilder::new(&format!("^(?:{pattern})$"))
                .size_limit(MAX_REGEX)
                .build()
        })
        .map_err(|error| {
            // The last line says what is wrong; those before it point at the place.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            format!("\"{pattern}\" is not a regular expression (RE2 syntax): {reason}")
        })
}

fn bounded(check: &mut Checker, field: &str, count: usize) {
    if count > MAX_CONDITIONS {
        check.fault(
            field,
            format!("has {count} entries, {MAX_CONDITIONS} are the most"),
        );
    }
}
