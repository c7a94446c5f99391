//! Path templates: `/users/{id}/posts/{rest*}`.

use std::fmt;

/// A path with captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Box<[Segment]>,
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// To the letter.
    Literal(Box<str>),
    /// Any one segment that is not empty, by this name.
    Capture(Box<str>),
    /// One or more segments to the end of the path, by this name. Only the last.
    Rest(Box<str>),
}

impl Template {
    /// The most captures one template may have.
    pub const MAX_CAPTURES: usize = 16;
    /// The most segments one template may have.
    pub const MAX_SEGMENTS: usize = 128;

    /// Reads a template to match with.
    ///
    /// # Errors
    /// When it does not begin with a slash, has a brace out of place, a name twice, more than 16
    /// captures or 128 segments, or something after `{name*}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or("must begin with \"/\"")?;
        let mut segments: Vec<Segment> = Vec::new();
        for segment in rest.split('/') {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err("a capture of the rest ({name*}) must be the last segment".to_owned());
            }
            let parsed = Segment::parse(segment)?;
            if let Some(name) = parsed.capture()
                && segments.iter().any(|other| other.capture() == Some(name))
            {
                return Err(format!("the capture {{{name}}} is there twice"));
            }
            segments.push(parsed);
        }
        if segments.len() > Self::MAX_SEGMENTS {
            return Err(format!("has more than {} segments", Self::MAX_SEGMENTS));
        }
        if segments
            .iter()
            .filter(|segment| segment.capture().is_some())
            .count()
            > Self::MAX_CAPTURES
        {
            return Err(format!("has more than {} captures", Self::MAX_CAPTURES));
        }
        Ok(Self {
            segments: segments.into(),
        })
    }

    /// Its segments, at least one.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names it captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::capture)
    }

    /// What `path` puts into each capture, in order; `None` if it does not match. The query must
    /// have been cut off.
    #[must_use]
    pub fn capture<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        let mut rest = Some(path.strip_prefix('/')?);
        let mut found = Captures::new();
        for segment in &self.segments {
            let path = rest?;
            let (head, tail) = match path.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (path, None),
            };
            match segment {
                Segment::Literal(literal) if **literal == *head => {}
                Segment::Capture(_) if !head.is_empty() => found.push(head),
                Segment::Rest(_) if !path.is_empty() => {
                    found.push(path);
                    return Some(found);
                }
                _ => return None,
            }
            rest = tail;
        }
        rest.is_none().then_some(found)
    }
}

/// The captured parts of a path, in the template's order.
pub type Captures<'p> = smallvec::SmallVec<[&'p str; 4]>;

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('{') else {
            return if text.contains(['{', '}']) {
                Err(format!(
                    "segment \"{text}\": a capture is a whole segment, such as {{id}}"
                ))
            } else {
                Ok(Self::Literal(text.into()))
            };
        };
        let inner = inner
            .strip_suffix('}')
            .ok_or_else(|| format!("segment \"{text}\": the brace is not closed at its end"))?;
        let (name, rest) = match inner.strip_suffix('*') {
            Some(name) => (name, true),
            None => (inner, false),
        };
        let good = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !good {
            return Err(format!(
                "segment \"{text}\": a capture's name is letters, digits and \"_\", such as {{id}} or {{rest*}}"
            ));
        }
        Ok(if rest {
            Self::Rest(name.into())
        } else {
            Self::Capture(name.into())
        })
    }

    /// The name it captures under.
    #[must_use]
    pub fn capture(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Capture(name) | Self::Rest(name) => Some(name),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Capture(name) => write!(f, "/{{{name}}}")?,
                Segment::Rest(name) => write!(f, "/{{{name}*}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_take_whole_segments() {
        let template = Template::parse("/users/{id}/posts/{rest*}").unwrap();
        assert_eq!(
            template.capture("/users/7/posts/a/b").unwrap().as_slice(),
            ["7", "a/b"]
        );
        for path in [
            "/users/7/posts",
            "/users/7/posts/",
            "/users//posts/a",
            "/users/7/post/a",
            "/",
        ] {
            assert!(template.capture(path).is_none(), "{path}");
        }
        assert_eq!(template.to_string(), "/users/{id}/posts/{rest*}");
        let exact = Template::parse("/a/{b}/").unwrap();
        assert!(exact.capture("/a/1/").is_some());
        assert!(exact.capture("/a/1").is_none());
    }

    #[test]
    fn a_malformed_template_is_refused() {
        for bad in [
            "users",
            "/{id",
            "/a{id}",
            "/{}",
            "/{rest*}/x",
            "/{id}/{id}",
            "/{a-b}",
            "/{1a}",
            &"/a".repeat(129),
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
