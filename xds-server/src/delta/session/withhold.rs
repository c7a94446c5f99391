//! Secrets go only where nobody else can read them, to those who were asked who they are.

use fleetway_api::{Id, Kind};

use super::{Mode, Refusal, Session};
use crate::delta::diff::{View, diff};

/// Who could have the secrets that are sent over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// The client alone, which may have them.
    None,
    /// Whoever connects: nobody is asked for a certificate, and any fleet can be claimed.
    Unidentified,
    /// Whoever listens.
    Cleartext,
}

impl Exposure {
    /// What is wrong, and the remedy.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Unidentified => Some(
                "whoever connects could claim this fleet: have the server ask proxies for certificates (--tls-client-ca), or let it send secrets to whoever connects (--tls-client-identity off)",
            ),
            Self::Cleartext => Some(
                "others can read this connection: have the proxy connect over TLS (--xds https://HOST:PORT) or over loopback",
            ),
        }
    }
}

impl Session {
    /// Whether a push would carry a secret over a connection that is exposed. It is then not
    /// made: without the secret it could not be applied. It counts as refused, and comes once there
    /// is no secret in it, or the client over another connection.
    pub(super) fn withholds(&mut self, now_ms: i64) -> bool {
        let Some(reason) = self.exposure.reason() else {
            return false;
        };
        if self.mode() == Mode::Waiting {
            return false;
        }
        let Some(secret) = self.secret_due() else {
            return false;
        };
        let revision = self.snapshot.revision();
        self.tally.withheld += 1;
        self.held = Some(revision);
        self.asked = false;
        self.refusal = Some(Refusal {
            revision,
            time_ms: now_ms,
            message: format!("not sent: it has {secret}, and {reason}"),
        });
        true
    }

    /// The first secret the next push has to carry.
    fn secret_due(&self) -> Option<Id> {
        let tracked = self.kinds.get(Kind::Secret.index())?.as_ref()?;
        let view = View {
            kind: Kind::Secret,
            fleet: self.identity.as_ref()?.fleet.as_str(),
            subscription: &tracked.subscription,
        };
        let owed = tracked.subscription.owed();
        let delta = diff(&view, &tracked.base, owed, &self.snapshot);
        let entry = if delta.all {
            view.all(&self.snapshot).next()
        } else {
            delta.upserts.first()
        };
        entry.map(|entry| entry.resource.id())
    }
}
