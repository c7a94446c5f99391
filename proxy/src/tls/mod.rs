//! TLS towards clients and upstreams, made from the secrets of a snapshot.

mod certificates;
mod corked;
mod facts;
mod failure;
mod originate;
mod revocation;
mod roots;
mod terminate;
mod verify;

use std::sync::{Arc, LazyLock};

pub use corked::Corked;
pub use facts::{ClientCertificate, TlsFacts};
pub use failure::HandshakeError;
use fleetway_api::TlsVersion;
pub use originate::{Identity, Originate, SetupError, Speak};
use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
pub use terminate::Terminate;
pub use verify::noting_refused;

/// The cryptography of all TLS. Of the library's suites, which are all strong, those with AES-128
/// come first: its hash is one that processors compute, and a handshake is hashes for a good part.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        let is_larger = |suite: &SupportedCipherSuite| {
            suite
                .suite()
                .as_str()
                .is_some_and(|name| name.contains("AES_256"))
        };
        // Stable: otherwise they stay in the library's order.
        provider.cipher_suites.sort_by_key(is_larger);
        Arc::new(provider)
    });
    &PROVIDER
}

/// The versions from `least` to `most`.
fn versions(least: TlsVersion, most: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (least..=most).contains(version))
        .map(|(_, version)| version)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_with_the_hash_processors_compute_come_first() {
        let suites = &provider().cipher_suites;
        let names: Vec<_> = suites.iter().map(|suite| suite.suite().as_str()).collect();
        let first = names
            .iter()
            .flatten()
            .position(|name| name.contains("AES_256"));
        assert_eq!(names.len(), aws_lc_rs::DEFAULT_CIPHER_SUITES.len());
        assert_eq!(names.first(), Some(&Some("TLS13_AES_128_GCM_SHA256")));
        assert_eq!(first, Some(names.len() - 3), "{names:?}");
    }
}
