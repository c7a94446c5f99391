//! TLS towards clients and upstreams, made from the secrets of a snapshot.

mod certificates;
mod facts;
mod failure;
mod originate;
mod revocation;
mod roots;
mod terminate;
mod verify;

use std::sync::{Arc, LazyLock};

pub use facts::{ClientCertificate, TlsFacts};
pub use failure::HandshakeError;
use fleetway_api::TlsVersion;
pub use originate::{Identity, Originate, SetupError, Speak};
use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
pub use terminate::Terminate;

/// The cryptography of all TLS.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
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
