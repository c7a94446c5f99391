//! The certificates of a proxy as its admin page shows them: what they say, never their keys.

use std::time::UNIX_EPOCH;

use fleetway_api::{CertificateFacts, CrlFacts, Kind, Resource, Secret};
use serde_json::{Map, Value, json};

use crate::{snapshot::Resources, telemetry::Rendered};

/// What a read adds to a secret: its version, its certificates, and its revocation lists if it has
/// any.
pub(super) fn meta(secret: &Secret, version: &str) -> Value {
    let mut meta = Map::new();
    meta.insert("version".into(), version.into());
    meta.insert("certificates".into(), describe(secret));
    if !secret.crls().is_empty() {
        meta.insert("crls".into(), describe_crls(secret));
    }
    meta.into()
}

/// Whom and what each certificate of a secret is for, and until when.
fn describe(secret: &Secret) -> Value {
    let one = |facts: &CertificateFacts| {
        json!({
            "subject": facts.subject,
            "issuer": facts.issuer,
            "dns_names": facts.dns_names,
            "other_names": facts.other_names,
            "not_after": facts.not_after_text(),
        })
    };
    secret.facts().iter().map(one).collect()
}

/// Who signed each revocation list of a secret, and how long it is current.
fn describe_crls(secret: &Secret) -> Value {
    let one = |facts: &CrlFacts| {
        json!({
            "issuer": facts.issuer,
            "revoked": facts.revoked,
            "next_update": facts.next_update_text(),
        })
    };
    secret.crls().iter().map(one).collect()
}

/// Writes when the first certificate and the first revocation list of each secret to expire do, as
/// the server does.
pub(super) fn render(resources: &Resources, out: &mut Rendered) {
    for (name, entry) in resources.of(Kind::Secret) {
        let Resource::Secret(secret) = &entry.resource else {
            continue;
        };
        for (metric, expires) in [
            (
                "fleetway_certificate_expiry_timestamp_seconds",
                secret.first_expiry(),
            ),
            (
                "fleetway_crl_expiry_timestamp_seconds",
                secret.first_crl_expiry(),
            ),
        ] {
            if let Some(expires) = expires {
                let since = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
                out.gauge(metric, &format!("secret=\"{name}\""), since.as_secs());
            }
        }
    }
}
