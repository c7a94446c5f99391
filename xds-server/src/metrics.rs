//! What the server counts of itself, as Prometheus reads it.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use fleetway_api::{Kind, Resource, Secret};
use http::StatusCode;

use crate::{fleet::Counters, snapshot::Snapshot};

/// A metric of when something of a secret expires: its name, what it means, how it is read.
type Expiry = (
    &'static str,
    &'static str,
    fn(&Secret) -> Option<SystemTime>,
);

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    /// Revisions made. What changes nothing, is sent again under its key or is a dry run makes none.
    pub commits: AtomicU64,
    /// Transactions refused for what they say.
    pub rejected: AtomicU64,
    /// Transactions the store did not take.
    pub store_failures: AtomicU64,
    /// REST requests by status, from 100 on.
    requests: [AtomicU64; 500],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            store_failures: AtomicU64::new(0),
            requests: [const { AtomicU64::new(0) }; 500],
        }
    }
}

impl Metrics {
    /// Counts an answered request.
    pub fn answered(&self, status: StatusCode) {
        let index = usize::from(status.as_u16()).checked_sub(100);
        if let Some(counter) = index.and_then(|index| self.requests.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The text exposition format, version 0.0.4.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot, streams: &Counters) -> String {
        let mut text = String::with_capacity(2048);
        let name = "fleetway_xds_revision";
        head(&mut text, name, "gauge", "The last committed revision.");
        let _ = writeln!(text, "{name} {}", snapshot.revision());
        let name = "fleetway_xds_resources";
        head(&mut text, name, "gauge", "Resources by kind.");
        for kind in Kind::ALL {
            let count = snapshot.resources().of(kind).len();
            let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {count}");
        }
        render_expiries(&mut text, snapshot);
        let name = "fleetway_xds_commits_total";
        let help = "Revisions committed since the start.";
        head(&mut text, name, "counter", help);
        let _ = writeln!(text, "{name} {}", self.commits.load(Relaxed));
        let name = "fleetway_xds_commit_failures_total";
        let help = "Transactions not made: refused for what they say, or not taken by the store.";
        head(&mut text, name, "counter", help);
        for (reason, counter) in [
            ("rejected", &self.rejected),
            ("store", &self.store_failures),
        ] {
            let _ = writeln!(
                text,
                "{name}{{reason=\"{reason}\"}} {}",
                counter.load(Relaxed)
            );
        }
        let name = "fleetway_xds_streams";
        head(&mut text, name, "gauge", "Discovery streams open now.");
        let _ = writeln!(text, "{name} {}", streams.streams_open.load(Relaxed));
        for (name, help, counter) in [
            (
                "fleetway_xds_pushes_total",
                "Pushes begun.",
                &streams.pushes,
            ),
            (
                "fleetway_xds_pushes_withheld_total",
                "Pushes not made since they carry secrets over a connection that others can read.",
                &streams.withheld,
            ),
            (
                "fleetway_xds_streams_denied_total",
                "Streams closed since the client's certificate does not allow what it claims to be.",
                &streams.denied,
            ),
            (
                "fleetway_xds_acks_total",
                "Responses that clients acknowledged.",
                &streams.acks,
            ),
            (
                "fleetway_xds_nacks_total",
                "Responses that clients refused.",
                &streams.nacks,
            ),
            (
                "fleetway_xds_protocol_errors_total",
                "Faults of clients: stale nonces, unknown types and the like.",
                &streams.protocol_errors,
            ),
        ] {
            head(&mut text, name, "counter", help);
            let _ = writeln!(text, "{name} {}", counter.load(Relaxed));
        }
        let name = "fleetway_xds_rest_requests_total";
        head(
            &mut text,
            name,
            "counter",
            "REST requests answered, by status.",
        );
        for (status, counter) in (100..).zip(&self.requests) {
            let count = counter.load(Relaxed);
            if count > 0 {
                let _ = writeln!(text, "{name}{{code=\"{status}\"}} {count}");
            }
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// Writes when the first certificate and the first revocation list of each secret to expire do.
fn render_expiries(text: &mut String, snapshot: &Snapshot) {
    let expiries: [Expiry; 2] = [
        (
            "fleetway_certificate_expiry_timestamp_seconds",
            "When the first certificate of a secret to expire does, in seconds since 1970.",
            Secret::first_expiry,
        ),
        (
            "fleetway_crl_expiry_timestamp_seconds",
            "By when the first revocation list of a secret is to be renewed, in seconds since 1970.",
            Secret::first_crl_expiry,
        ),
    ];
    for (name, help, of) in expiries {
        head(text, name, "gauge", help);
        for entry in snapshot.resources().of(Kind::Secret).values() {
            if let Resource::Secret(secret) = &entry.resource
                && let Some(expires) = of(secret)
            {
                let since = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
                let secret = &secret.common.name;
                let _ = writeln!(text, "{name}{{secret=\"{secret}\"}} {}", since.as_secs());
            }
        }
    }
}
