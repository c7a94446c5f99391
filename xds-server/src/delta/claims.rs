//! What a client may claim to be, by its certificate.
//!
//! The certificate says so in its URI names, in the form of SPIFFE IDs:
//! `spiffe://TRUST-DOMAIN/fleet/FLEET/node/NODE` for one node, `spiffe://TRUST-DOMAIN/fleet/FLEET`
//! for any node of a fleet. Whose word that is, the authorities say; the trust domain is not looked
//! at.

use std::fmt;

use fleetway_api::CertificateFacts;

use super::facts::Identity;

/// What a certificate allows its owner to claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    subject: Box<str>,
    allowed: Vec<Claim>,
}

/// One node, or any node of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    fleet: Box<str>,
    /// None for any.
    node: Option<Box<str>>,
}

/// A claim that the certificate does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client certificate ({subject}) does not allow node {node:?} of fleet {fleet:?}: {allowed}"
)]
pub(super) struct Denied {
    subject: Box<str>,
    node: String,
    fleet: String,
    allowed: String,
}

impl Claims {
    /// Reads them off a certificate, in DER, that was verified. None where it is no certificate.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let facts = CertificateFacts::read(certificate).ok()?;
        Some(Self {
            allowed: facts.uris().filter_map(Claim::of).collect(),
            subject: facts.subject,
        })
    }

    /// Whether a client may be who it says it is.
    ///
    /// # Errors
    /// What it may be in place of that.
    pub(super) fn allow(&self, identity: &Identity) -> Result<(), Denied> {
        if self.allowed.iter().any(|claim| claim.covers(identity)) {
            return Ok(());
        }
        let allowed: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
        Err(Denied {
            subject: self.subject.clone(),
            node: identity.id.clone(),
            fleet: identity.fleet.clone(),
            allowed: match allowed.as_slice() {
                [] => "it has no URI name of the form spiffe://TRUST-DOMAIN/fleet/FLEET/node/NODE or spiffe://TRUST-DOMAIN/fleet/FLEET".to_owned(),
                some => format!("it allows {}", some.join(", ")),
            },
        })
    }
}

impl Claim {
    fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let mut parts = rest.split('/');
        let domain = parts.next()?;
        if !scheme.eq_ignore_ascii_case("spiffe") || domain.is_empty() {
            return None;
        }
        let path: Vec<&str> = parts.collect();
        let (fleet, node) = match path.as_slice() {
            ["fleet", fleet] => (*fleet, None),
            ["fleet", fleet, "node", node] => (*fleet, Some(*node)),
            _ => return None,
        };
        if fleet.is_empty() || node.is_some_and(str::is_empty) {
            return None;
        }
        Some(Self {
            fleet: fleet.into(),
            node: node.map(Into::into),
        })
    }

    fn covers(&self, identity: &Identity) -> bool {
        let node = self.node.as_deref();
        *self.fleet == *identity.fleet && node.is_none_or(|node| node == identity.id)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "node {node:?} of fleet {:?}", self.fleet),
            None => write!(f, "any node of fleet {:?}", self.fleet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(uris: &[&str]) -> Claims {
        Claims {
            subject: "CN=p".into(),
            allowed: uris.iter().filter_map(|uri| Claim::of(uri)).collect(),
        }
    }

    fn denied(uris: &[&str], node: &str, fleet: &str) -> Option<String> {
        let identity = Identity {
            id: node.into(),
            fleet: fleet.into(),
            build: String::new(),
        };
        let allowed = claims(uris).allow(&identity);
        allowed.err().map(|denied| denied.to_string())
    }

    #[test]
    fn a_certificate_allows_what_its_names_say_to_the_letter_and_nothing_else() {
        let one = "spiffe://example.com/fleet/blue/node/p1";
        let any = "SPIFFE://example.org/fleet/green";
        for (node, fleet, allowed) in [
            ("p1", "blue", true),
            ("p2", "blue", false),
            ("P1", "blue", false),
            ("p1", "green", true),
            ("p7", "green", true),
            ("p1", "red", false),
            ("p1", "", false),
            ("p1", "blue/node", false),
        ] {
            let told = denied(&[one, any], node, fleet);
            assert_eq!(told.is_none(), allowed, "{node} {fleet}: {told:?}");
        }
        assert_eq!(
            denied(&[one, any], "p2", "blue").unwrap(),
            "the client certificate (CN=p) does not allow node \"p2\" of fleet \"blue\": it allows node \"p1\" of fleet \"blue\", any node of fleet \"green\""
        );
    }

    #[test]
    fn names_of_other_forms_allow_nothing() {
        for uri in [
            "spiffe:///fleet/blue",
            "spiffe://example.com/fleet/",
            "spiffe://example.com/fleet/blue/",
            "spiffe://example.com/fleet/blue/node",
            "spiffe://example.com/fleet/blue/node/",
            "spiffe://example.com/fleet/blue/node/p1/",
            "spiffe://example.com/ns/fleet/blue",
            "spiffe://example.com",
            "https://example.com/fleet/blue",
            "fleet/blue",
        ] {
            let told = denied(&[uri], "p1", "blue").expect(uri);
            assert!(told.contains("has no URI name of the form"), "{told}");
        }
    }
}
