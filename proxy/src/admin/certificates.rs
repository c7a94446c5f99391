//! The certificates of a proxy as its admin page shows them: what they say, never their keys.

use std::time::UNIX_EPOCH;

use fleetway_api::{CertificateFacts, Kind, Resource, Secret};
use serde_json::{Value, json};

use crate::{snapshot::Resources, telemetry::Rendered};

/// Whom and what each certificate of a secret is for, and until when.
pub(super) fn describe(secret: &Secret) -> Value {
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

/// Writes when the first certificate of each secret to expire does, as the server does.
pub(super) fn render(resources: &Resources, out: &mut Rendered) {
    for (name, entry) in resources.of(Kind::Secret) {
        if let Resource::Secret(secret) = &entry.resource
            && let Some(expires) = secret.first_expiry()
        {
            let since = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.gauge(
                "fleetway_certificate_expiry_timestamp_seconds",
                &format!("secret=\"{name}\""),
                since.as_secs(),
            );
        }
    }
}
