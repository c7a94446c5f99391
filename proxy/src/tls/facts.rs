//! What is known of a client's connection from its handshake.

use std::{fmt::Write as _, time::SystemTime};

use fleetway_api::CertificateFacts;
use http::HeaderValue;
use rustls::{
    CertificateError, Error, HandshakeKind, ProtocolVersion, ServerConnection,
    pki_types::CertificateDer,
};
use sha2::{Digest as _, Sha256};

use super::HandshakeError;

/// What both sides agreed on, and who the client is.
#[derive(Debug)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, as the registry of RFC 8446 spells it.
    pub cipher: &'static str,
    /// What is spoken within (ALPN), if that was agreed on.
    pub alpn: Option<Box<[u8]>>,
    /// The name the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's certificate, verified; none if it showed none.
    pub client: Option<ClientCertificate>,
}

/// A client's certificate that was verified.
#[derive(Debug)]
pub struct ClientCertificate {
    /// What it says.
    pub facts: CertificateFacts,
    /// The SHA-256 of its DER form, 64 hexadecimal digits.
    pub fingerprint: Box<str>,
    /// The value of `x-forwarded-client-cert`.
    pub forwarded: HeaderValue,
}

impl TlsFacts {
    /// Those of a connection whose handshake is over.
    ///
    /// # Errors
    /// When it resumes a session whose certificate has expired meanwhile: resuming looks at none.
    pub fn of(connection: &ServerConnection) -> Result<Self, HandshakeError> {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let chain = connection.peer_certificates();
        let client = chain.and_then(<[_]>::first).map(ClientCertificate::of);
        let client = client.transpose()?;
        if let Some(client) = &client
            && resumed
            && client.facts.not_after < SystemTime::now()
        {
            return Err(Error::InvalidCertificate(CertificateError::Expired).into());
        }
        let cipher = connection.negotiated_cipher_suite();
        Ok(Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: cipher
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            alpn: connection.alpn_protocol().map(Into::into),
            server_name: connection.server_name().map(Into::into),
            resumed,
            client,
        })
    }
}

impl ClientCertificate {
    fn of(der: &CertificateDer<'_>) -> Result<Self, HandshakeError> {
        let facts = CertificateFacts::read(der)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let mut fingerprint = String::with_capacity(64);
        for byte in Sha256::digest(der) {
            // Writing to a string cannot fail.
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Ok(Self {
            forwarded: forwarded(&facts, &fingerprint),
            fingerprint: fingerprint.into(),
            facts,
        })
    }
}

/// The value of `x-forwarded-client-cert`, as Envoy writes it.
fn forwarded(facts: &CertificateFacts, fingerprint: &str) -> HeaderValue {
    let mut text = format!("Hash={fingerprint};Subject={}", quoted(&facts.subject));
    let uris = facts.uris().map(|uri| ("URI", uri));
    let names = facts.dns_names.iter().map(|name| ("DNS", &**name));
    for (key, value) in uris.chain(names) {
        let _ = match value.contains([',', ';', '=', '"', '\\']) {
            true => write!(text, ";{key}={}", quoted(value)),
            false => write!(text, ";{key}={value}"),
        };
    }
    // A certificate can hold what no header field may: then its hash alone tells who it is.
    HeaderValue::try_from(text)
        .or_else(|_| HeaderValue::try_from(format!("Hash={fingerprint}")))
        .unwrap_or(HeaderValue::from_static(""))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn facts(subject: &str, dns: &str) -> CertificateFacts {
        CertificateFacts {
            subject: subject.into(),
            issuer: "".into(),
            dns_names: [dns.into()].into(),
            other_names: ["URI:spiffe://a/b;By=x".into()].into(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
        }
    }

    #[test]
    fn what_a_certificate_says_cannot_pose_as_another_part_of_the_field() {
        let value = forwarded(&facts("CN=a\";Hash=b", "c.example"), "00ff");
        assert_eq!(
            value,
            r#"Hash=00ff;Subject="CN=a\";Hash=b";URI="spiffe://a/b;By=x";DNS=c.example"#
        );
        assert_eq!(forwarded(&facts("CN=a\r\nx: y", "c"), "00ff"), "Hash=00ff");
    }
}
