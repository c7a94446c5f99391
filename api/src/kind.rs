//! The kinds of resources and their names.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use fleetway_proto::type_url;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind of resource. The order is the one in which changes are sent and applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`crate::Secret`]
    Secret,
    /// [`crate::Component`]
    Component,
    /// [`crate::Policy`]
    Policy,
    /// [`crate::Cluster`]
    Cluster,
    /// [`crate::Endpoints`]
    Endpoints,
    /// [`crate::Listener`]
    Listener,
    /// [`crate::Route`]
    Route,
}

/// The kinds as a fault lists them.
pub(crate) const KINDS: &str = "Listener, Route, Cluster, Endpoints, Policy, Component or Secret";

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 7] = [
        Self::Secret,
        Self::Component,
        Self::Policy,
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Route,
    ];

    /// The name in a document's `kind`: `Route`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Component => "Component",
            Self::Policy => "Policy",
            Self::Cluster => "Cluster",
            Self::Endpoints => "Endpoints",
            Self::Listener => "Listener",
            Self::Route => "Route",
        }
    }

    /// The name in a REST path and an error: `routes`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Component => "components",
            Self::Policy => "policies",
            Self::Cluster => "clusters",
            Self::Endpoints => "endpoints",
            Self::Listener => "listeners",
            Self::Route => "routes",
        }
    }

    /// Whether a proxy gets one only where something else it gets names it.
    #[must_use]
    pub const fn on_demand(self) -> bool {
        matches!(self, Self::Secret | Self::Component | Self::Policy)
    }

    /// The name on a discovery stream.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Secret => type_url::SECRET,
            Self::Component => type_url::COMPONENT,
            Self::Policy => type_url::POLICY,
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoints => type_url::ENDPOINTS,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
        }
    }

    /// The kind of a type URL, `None` if it is not one of a resource.
    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Its place in [`Kind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads `Route`, `route` and `routes`, in any case; `endpoint` too.
impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| {
                text.eq_ignore_ascii_case(kind.as_str()) || text.eq_ignore_ascii_case(kind.plural())
            })
            .or_else(|| {
                text.eq_ignore_ascii_case("endpoint")
                    .then_some(Self::Endpoints)
            })
            .ok_or_else(|| format!("unknown kind \"{text}\": write {KINDS}"))
    }
}

/// The name of a resource: 1 to 253 characters of `a-z`, `0-9`, `-`, `_` and `.`, beginning and
/// ending with a letter or digit. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be 1 to 253 characters of a-z, 0-9, \"-\", \"_\" and \".\", beginning and ending with a letter or digit"
)]
pub struct NameError;

impl Name {
    /// The longest name in bytes.
    pub const MAX_LEN: usize = 253;

    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// When it is empty, too long, or has a character a name cannot have.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let inner = |c: &u8| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.')
        };
        if bytes.len() <= Self::MAX_LEN
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(inner)
        {
            Ok(Self(text.into()))
        } else {
            Err(NameError)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared with this name.
    #[must_use]
    pub const fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Which resource: kind and name. Prints as `routes/users`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique within the kind.
    pub name: Name,
}

impl Id {
    /// The identity of the `kind` called `name`.
    #[must_use]
    pub const fn new(kind: Kind, name: Name) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.plural(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_bounded() {
        for good in ["a", "users", "user-service_2.v1", "0", &"a".repeat(253)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            ".a",
            "A",
            "a/b",
            "a b",
            "ä",
            &"a".repeat(254),
        ] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_read_in_every_common_spelling() {
        for text in ["Route", "route", "routes", "ROUTES"] {
            assert_eq!(text.parse(), Ok(Kind::Route));
        }
        assert_eq!("endpoint".parse(), Ok(Kind::Endpoints));
        assert!("rout".parse::<Kind>().is_err());
    }
}
