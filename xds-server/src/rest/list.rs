//! Lists: pages, and which resources are on them.

use std::{collections::BTreeMap, ops::Bound, str::FromStr};

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleetway_api::{Kind, Name, rest::Page};
use http::{StatusCode, request::Parts};
use serde::Deserialize;

use super::{
    Call,
    failure::Failure,
    input::Faults,
    reply::{document, reply},
};
use crate::snapshot::reaches;

/// The most entries on a page, and how many there are where the client does not say.
pub(super) const MAX_PAGE: usize = 1000;
pub(super) const DEFAULT_PAGE: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    page_size: Option<usize>,
    page_token: Option<String>,
    label: Option<String>,
    fleet: Option<String>,
}

/// The query parameters of a list without selection.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParams {
    page_size: Option<usize>,
    page_token: Option<String>,
}

/// The query of a list without selection: how many entries, and the key of the last one before.
pub(super) fn page<K: FromStr>(parts: &Parts, list: &str) -> Result<(usize, Option<K>), Failure> {
    let mut faults = Faults::default();
    let PageParams {
        page_size,
        page_token,
    } = faults.params(parts).unwrap_or_default();
    let size = faults.take(check_size(page_size), DEFAULT_PAGE)?;
    let after = page_token.map(|token| read_token(&token, list)).transpose();
    let after = faults.take(after, None)?;
    faults.check()?;
    Ok((size, after))
}

/// `GET /v1/{kind}`: the resources of a kind by name.
pub(super) async fn list(kind: Kind, call: Call) -> Result<Response, Failure> {
    let mut faults = Faults::default();
    let ListParams {
        page_size,
        page_token,
        label,
        fleet,
    } = faults.params(&call.parts).unwrap_or_default();
    let size = faults.take(check_size(page_size), DEFAULT_PAGE)?;
    let after = page_token.map(|token| read_token::<String>(&token, kind.plural()));
    let after = faults.take(after.transpose(), None)?;
    let selector = label.as_deref().unwrap_or_default().parse();
    let selector = selector.map_err(|error: String| Failure::bad("label", error));
    let selector = faults.take(selector, Selector::default())?;
    if let Some(Err(error)) = fleet.as_deref().map(Name::new) {
        faults.take(Err(Failure::bad("fleet", error.to_string())), ())?;
    }
    faults.check()?;
    let format = call.format;
    call.app
        .blocking(move |app| {
            let snapshot = app.committer.snapshot();
            let start = match after.as_deref() {
                None => Bound::Unbounded,
                Some(name) => Bound::Excluded(name),
            };
            let mut selected = snapshot
                .resources()
                .of(kind)
                .range::<_, str>((start, Bound::Unbounded))
                .map(|(_, entry)| entry)
                .filter(|entry| selector.takes(&entry.resource.common().labels))
                .filter(|entry| {
                    fleet
                        .as_deref()
                        .is_none_or(|fleet| reaches(&entry.resource, fleet))
                });
            let on_page: Vec<_> = selected.by_ref().take(size).collect();
            let more = selected.next().is_some();
            let page = Page {
                next_page_token: on_page
                    .last()
                    .filter(|_| more)
                    .map(|last| write_token(kind.plural(), last.resource.name().as_str())),
                items: on_page
                    .into_iter()
                    .map(|entry| document(entry, snapshot.revision()))
                    .collect::<Result<Vec<_>, _>>()?,
                revision: snapshot.revision(),
            };
            reply(StatusCode::OK, format, &page)
        })
        .await
}

/// How many entries to put on a page.
fn check_size(size: Option<usize>) -> Result<usize, Failure> {
    match size.unwrap_or(DEFAULT_PAGE) {
        size @ 1..=MAX_PAGE => Ok(size),
        _ => Err(Failure::bad(
            "page_size",
            format!("must be between 1 and {MAX_PAGE}"),
        )),
    }
}

/// A token for the page of `list` after the entry with this key.
pub(super) fn write_token(list: &str, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}/{last}"))
}

/// The key in a token of `list`.
fn read_token<K: FromStr>(token: &str, list: &str) -> Result<K, Failure> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(list)?.strip_prefix('/')?.parse().ok())
        .ok_or_else(|| {
            Failure::bad(
                "page_token",
                "is none of this list: give the `next_page_token` of its page before",
            )
        })
}

/// Which labels a resource must have: `env=prod,team!=x,key,!other`, all of it.
#[derive(Debug, Default)]
struct Selector(Vec<Requirement>);

#[derive(Debug)]
enum Requirement {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Is(key, value) => labels.get(key) == Some(value),
            Requirement::IsNot(key, value) => labels.get(key) != Some(value),
            Requirement::Has(key) => labels.contains_key(key),
            Requirement::HasNot(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',')
            .map(|part| {
                let part = part.trim();
                let label = |text: &str, may_be_empty: bool| {
                    let text = text.trim();
                    let plain = text
                        .bytes()
                        .all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c));
                    if plain && (may_be_empty || !text.is_empty()) {
                        Ok(text.to_owned())
                    } else {
                        Err(format!(
                            "\"{part}\" is no condition: write key=value, key!=value, key or !key"
                        ))
                    }
                };
                if let Some((key, value)) = part.split_once("!=") {
                    Ok(Requirement::IsNot(label(key, false)?, label(value, true)?))
                } else if let Some((key, value)) = part.split_once('=') {
                    Ok(Requirement::Is(label(key, false)?, label(value, true)?))
                } else if let Some(key) = part.strip_prefix('!') {
                    label(key, false).map(Requirement::HasNot)
                } else {
                    label(part, false).map(Requirement::Has)
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_takes_what_meets_every_condition() {
        let labels: BTreeMap<String, String> = [("env", "prod"), ("team", "a"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (selector, takes) in [
            ("", true),
            ("env=prod", true),
            ("env=test", false),
            ("env = prod , team != b", true),
            ("env=prod,team!=a", false),
            ("other!=x", true),
            ("team", true),
            ("other", false),
            ("!other", true),
            ("!team", false),
            ("empty=", true),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.takes(&labels), takes, "{selector}");
        }
        for bad in [",", "env=prod,", "=x", "a b", "a==b", "!", "a=b=c"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
