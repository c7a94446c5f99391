//! What is counted of TLS handshakes, on either side.

use super::{Counter, Rendered};

/// Why a handshake failed: few enough for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// It took too long.
    Timeout,
    /// The other side closed the connection, or it broke.
    Closed,
    /// What came was no TLS.
    NotTls,
    /// No version, cipher or protocol (ALPN) both sides speak.
    Incompatible,
    /// The other side showed no certificate.
    NoCertificate,
    /// None of the authorities that are believed issued the certificate.
    UnknownAuthority,
    /// The certificate is past its time, or before it.
    Expired,
    /// The certificate is not for a name that is asked for.
    WrongName,
    /// The certificate, or one it was issued by, is revoked.
    Revoked,
    /// No current revocation list says that the certificate is not revoked.
    RevocationUnknown,
    /// The certificate is bad in another way.
    BadCertificate,
    /// The other side refused what it was shown or offered (an alert).
    Refused,
    /// Anything else.
    Other,
}

impl TlsFailure {
    const ALL: [Self; 13] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::Incompatible,
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::Expired,
        Self::WrongName,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::BadCertificate,
        Self::Refused,
        Self::Other,
    ];

    /// As it stands in the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::WrongName => "wrong_name",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::BadCertificate => "bad_certificate",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}

/// Handshakes as one worker counts them.
#[derive(Debug, Default)]
pub struct TlsShard {
    v12: Counter,
    v13: Counter,
    resumed: Counter,
    failures: [Counter; TlsFailure::ALL.len()],
}

impl TlsShard {
    /// Counts one that succeeded.
    pub fn succeeded(&self, version: Option<rustls::ProtocolVersion>, resumed: bool) {
        match version {
            Some(rustls::ProtocolVersion::TLSv1_2) => self.v12.increment(),
            _ => self.v13.increment(),
        }
        if resumed {
            self.resumed.increment();
        }
    }

    /// Counts one that failed.
    pub fn failed(&self, why: TlsFailure) {
        if let Some(counter) = self.failures.get(why as usize) {
            counter.increment();
        }
    }
}

/// The names of the metrics of one side.
#[derive(Debug)]
pub(super) struct TlsNames {
    pub(super) handshakes: &'static str,
    pub(super) resumed: &'static str,
    pub(super) failures: &'static str,
}

/// Writes the sums of `shards`.
pub(super) fn render<'s>(
    names: &TlsNames,
    label: &str,
    shards: impl Iterator<Item = &'s TlsShard> + Clone,
    out: &mut Rendered,
) {
    let sum = |of: fn(&TlsShard) -> &Counter| shards.clone().map(|s| of(s).get()).sum::<u64>();
    for (version, n) in [("1.2", sum(|s| &s.v12)), ("1.3", sum(|s| &s.v13))] {
        out.counter(
            names.handshakes,
            &format!("{label},version=\"{version}\""),
            n,
        );
    }
    out.counter(names.resumed, label, sum(|s| &s.resumed));
    for reason in TlsFailure::ALL {
        let failures = shards
            .clone()
            .filter_map(|s| s.failures.get(reason as usize));
        out.counter(
            names.failures,
            &format!("{label},reason=\"{}\"", reason.label()),
            failures.map(Counter::get).sum(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place() {
        for (place, reason) in TlsFailure::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason:?}");
        }
    }
}
