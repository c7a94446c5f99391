//! Conditional requests, RFC 9110 section 13: what `if-match`, `if-none-match` and the version in
//! a document ask for, and whether it holds.

use axum::http::request::Parts;
use fleetway_api::Id;
use http::{HeaderMap, HeaderName, header};

use super::failure::Failure;
use crate::commit::{CommitError, Condition, Unmet};

/// The entity tag of a version.
pub(super) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The tags of a conditional header.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// The versions listed. Tags that cannot be ours match nothing and are left out.
    Versions(Vec<u64>),
}

/// What a write asks of the resource as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Preconditions {
    if_match: Option<Tags>,
    /// `if-none-match: *`
    create_only: bool,
}

impl Preconditions {
    /// Reads the headers of a write.
    pub(super) fn of_write(parts: &Parts) -> Result<Self, Failure> {
        let create_only = match tags(&parts.headers, &header::IF_NONE_MATCH, true)? {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::Versions(_)) => {
                return Err(Failure::bad(
                    "if-none-match",
                    "takes only \"*\" on a write: the resource must not exist",
                ));
            }
        };
        Ok(Self {
            if_match: tags(&parts.headers, &header::IF_MATCH, false)?,
            create_only,
        })
    }

    /// Whether the client asks for anything.
    pub(super) const fn is_empty(&self) -> bool {
        self.if_match.is_none() && !self.create_only
    }

    /// What must hold when the write is made, given that the resource is at version `found` now and
    /// the document carries `version` (0: it must not exist).
    pub(super) fn resolve(
        &self,
        id: &Id,
        version: Option<u64>,
        found: Option<u64>,
    ) -> Result<Condition, Failure> {
        let stale = || {
            let id = id.clone();
            Err(CommitError::Unmet(vec![Unmet::Stale { id, found }]).into())
        };
        if (self.create_only || version == Some(0)) && found.is_some() {
            return Err(exists(id));
        }
        if let Some(version) = version
            && version != 0
            && found != Some(version)
        {
            return stale();
        }
        match &self.if_match {
            Some(Tags::Any) if found.is_none() => return stale(),
            Some(Tags::Versions(versions))
                if !found.is_some_and(|found| versions.contains(&found)) =>
            {
                return stale();
            }
            _ => {}
        }
        // It holds now: the write is on the condition that it stays so.
        Ok(match (self, version, found) {
            (
                Self {
                    if_match: None,
                    create_only: false,
                },
                None,
                _,
            ) => Condition::None,
            (
                Self {
                    if_match: Some(Tags::Any),
                    ..
                },
                None,
                _,
            ) => Condition::Exists,
            (_, _, Some(found)) => Condition::Version(found),
            (_, _, None) => Condition::Absent,
        })
    }
}

/// A resource was there that must not be.
pub(super) fn exists(id: &Id) -> Failure {
    Failure::Stale(format!("{id} exists, and the write is only to create it"))
}

/// Whether a read may be answered with 304: the client has this version.
pub(super) fn not_modified(headers: &HeaderMap, version: u64) -> Result<bool, Failure> {
    Ok(match tags(headers, &header::IF_NONE_MATCH, true)? {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::Versions(versions)) => versions.contains(&version),
    })
}

/// Reads a list of entity tags. `weak`: whether weak tags count, RFC 9110 section 8.8.3.2.
fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Result<Option<Tags>, Failure> {
    let bad = || {
        Failure::bad(
            name.as_str(),
            "is not \"*\" or a list of entity tags such as \"42\" in double quotes",
        )
    };
    let mut versions = Vec::new();
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    for line in lines {
        let mut rest = line.to_str().map_err(|_| bad())?.trim();
        if rest == "*" {
            return Ok(Some(Tags::Any));
        }
        loop {
            // Empty elements of a list are passed over, RFC 9110 section 5.6.1.
            rest = rest.trim_start_matches([',', ' ', '\t']);
            if rest.is_empty() {
                break;
            }
            let (is_weak, tag) = match rest.strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, rest),
            };
            let (tag, tail) = tag
                .strip_prefix('"')
                .and_then(|tag| tag.split_once('"'))
                .ok_or_else(bad)?;
            // Tags are compared as they are written: "02" is not "2".
            if let Ok(version) = tag.parse::<u64>()
                && version.to_string() == tag
                && (weak || !is_weak)
            {
                versions.push(version);
            }
            rest = tail.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(bad());
            }
        }
    }
    Ok(Some(Tags::Versions(versions)))
}

#[cfg(test)]
mod tests {
    use fleetway_api::{Kind, Name};
    use http::HeaderValue;

    use super::*;

    fn read(text: &str) -> Option<Tags> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
        tags(&headers, &header::IF_MATCH, false).ok().flatten()
    }

    #[test]
    fn entity_tags_are_read_as_lists_and_compared_strongly() {
        assert_eq!(read("*"), Some(Tags::Any));
        assert_eq!(read("\"42\""), Some(Tags::Versions(vec![42])));
        assert_eq!(
            read("\"1\" , W/\"2\",\"x\", \"3\""),
            Some(Tags::Versions(vec![1, 3]))
        );
        assert_eq!(
            read(",\"1\", ,\"02\",\"+3\","),
            Some(Tags::Versions(vec![1]))
        );
        for bad in ["42", "\"42", "\"1\" \"2\"", "W/1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_holds_now_is_what_the_write_depends_on() {
        let id = Id::new(Kind::Route, Name::new("a").unwrap());
        let on = |if_match: Option<Tags>, create_only, version, found| {
            Preconditions {
                if_match,
                create_only,
            }
            .resolve(&id, version, found)
            .ok()
        };
        assert_eq!(on(None, false, None, Some(3)), Some(Condition::None));
        assert_eq!(on(None, true, None, None), Some(Condition::Absent));
        assert_eq!(on(None, true, None, Some(3)), None);
        assert_eq!(
            on(None, false, Some(3), Some(3)),
            Some(Condition::Version(3))
        );
        assert_eq!(on(None, false, Some(2), Some(3)), None);
        assert_eq!(on(None, false, Some(2), None), None);
        assert_eq!(on(None, false, Some(0), None), Some(Condition::Absent));
        assert_eq!(
            on(Some(Tags::Any), false, None, Some(3)),
            Some(Condition::Exists)
        );
        assert_eq!(on(Some(Tags::Any), false, None, None), None);
        let list = Some(Tags::Versions(vec![2, 3]));
        assert_eq!(
            on(list.clone(), false, None, Some(3)),
            Some(Condition::Version(3))
        );
        assert_eq!(on(list.clone(), false, Some(2), Some(3)), None);
        assert_eq!(on(list, false, None, Some(4)), None);
    }
}
