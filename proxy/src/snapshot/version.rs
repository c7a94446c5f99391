//! What a proxy knows of where a resource came from.

use std::{fmt, sync::Arc};

use bytes::Bytes;

/// What a resource was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// Its version.
    pub version: Version,
    /// Its protobuf encoding, for the last good configuration on disk and for `/config_dump`.
    pub wire: Bytes,
}

/// Without the bytes: those of a secret are private.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A version as the server gave it: opaque, a decimal revision where the server is Fleetway's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(Text);

/// A decimal number, as a revision is, takes no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Text {
    Number(u64),
    Other(Arc<str>),
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        let number = text
            .parse()
            .ok()
            .filter(|number: &u64| number.to_string() == text);
        Self(number.map_or_else(|| Text::Other(text.into()), Text::Number))
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(Text::Number(number))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Text::Number(number) => write!(f, "{number}"),
            Text::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_of_a_resource_holds_none_of_its_bytes() {
        let received = Received {
            version: Version::from("7"),
            wire: Bytes::from_static(b"the key itself"),
        };
        let printed = format!("{received:?}");
        assert!(printed.contains('7'), "{printed}");
        let bytes = format!("{:?}", &received.wire[..3]);
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(
            !printed.contains("key") && !printed.contains(bytes),
            "{printed}"
        );
    }
}
