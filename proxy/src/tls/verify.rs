//! Whether the certificate the other side shows is believed.

use std::{cell::Cell, sync::Arc};

use fleetway_api::{CaBundle, CertificateFacts, ClientCertificates, Revocation, SubjectAltName};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use webpki::KeyUsage;

use super::{failure::NoSuchName, provider, revocation};

/// Verifies the certificates of upstreams.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    believed: Believed,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Which of them are believed.
#[derive(Debug)]
pub(super) enum Believed {
    /// Those that one of the authorities vouches for, and that have one of the names; without
    /// names, that of the server. What the lists revoke is not.
    Of(
        Arc<RootCertStore>,
        Option<Arc<Revocation>>,
        Box<[SubjectAltName]>,
    ),
    /// Any, as the user insists.
    Any,
}

impl ServerVerifier {
    pub(super) fn new(believed: Believed) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self {
            believed,
            algorithms,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Believed::Of(roots, lists, names) = &self.believed else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let known = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, known)?;
        if let Some(lists) = lists {
            let chain = (end_entity, intermediates);
            revocation::check(lists, roots, chain, now, KeyUsage::server_auth())?;
        }
        if names.is_empty() {
            verify_server_name(&certificate, server_name)?;
        } else {
            has_one_of(names, end_entity)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies the certificates of clients: as `inner` does, that none is revoked, and that each has
/// one of the names.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    lists: Option<Arc<Revocation>>,
    names: Box<[SubjectAltName]>,
}

impl ClientVerifier {
    pub(super) fn new(
        settings: &ClientCertificates,
        authorities: &CaBundle,
    ) -> Result<Self, Error> {
        let roots = authorities.roots.clone();
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider().clone());
        if !settings.required {
            builder = builder.allow_unauthenticated();
        }
        let inner = builder
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            inner,
            roots,
            lists: authorities.revocation.clone(),
            names: settings.subject_alt_names.clone(),
        })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        if let Some(lists) = &self.lists {
            let chain = (end_entity, intermediates);
            revocation::check(lists, &self.roots, chain, now, KeyUsage::client_auth())?;
        }
        if !self.names.is_empty() {
            has_one_of(&self.names, end_entity)?;
        }
        Ok(verified)
    }
}

tokio::task_local! {
    /// The subject of the certificate that was refused in the handshake this task is at.
    static REFUSED: Cell<Option<Box<str>>>;
}

/// Sees a handshake through, and gives with its outcome the subject of the client's certificate, if
/// it was refused for that: of what was refused the library keeps nothing.
pub async fn noting_refused<T>(handshake: impl Future<Output = T>) -> (T, Option<Box<str>>) {
    let noted = async {
        let outcome = handshake.await;
        (outcome, REFUSED.with(Cell::take))
    };
    REFUSED.scope(Cell::new(None), noted).await
}

fn note_refused(certificate: &CertificateDer<'_>) {
    let subject = CertificateFacts::read(certificate).ok();
    let subject = subject.map(|facts| facts.subject);
    // Outside of such a handshake nobody asks.
    let _ = REFUSED.try_with(|refused| refused.set(subject));
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verify(end_entity, intermediates, now);
        if verified.is_err() {
            note_refused(end_entity);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Whether the certificate has one of `names`.
fn has_one_of(names: &[SubjectAltName], certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let facts = CertificateFacts::read(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if names.iter().any(|name| name.is_of(&facts)) {
        return Ok(());
    }
    let has = facts.dns_names.iter().chain(&facts.other_names);
    let names: Vec<&str> = has.map(|name| &**name).take(10).collect();
    let missing = NoSuchName {
        names: if names.is_empty() {
            "none at all".to_owned()
        } else {
            names.join(", ")
        },
        subject: facts.subject,
    };
    Err(CertificateError::Other(OtherError(Arc::new(missing))).into())
}
