//! The validated TLS settings of clusters, and the names certificates are asked for.

use fleetway_proto::v1;
use rustls_pki_types::{DnsName, ServerName};

use super::CertificateFacts;
use crate::{Name, error::Checker};

/// The most names a certificate may be asked to have one of.
const MAX_NAMES: usize = 100;

/// TLS towards the members of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The secret with the authorities that are believed; none for those of the machine.
    pub ca: Option<Name>,
    /// The name asked for and verified; none for the member's address.
    pub server_name: Option<ServerName<'static>>,
    /// The names of which the certificate must have one, in place of the server's, if any.
    pub subject_alt_names: Box<[SubjectAltName]>,
    /// The secret with the certificate that is shown.
    pub certificate: Option<Name>,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
    /// Whether any certificate is believed.
    pub insecure_skip_verify: bool,
}

/// What is asked of clients: a certificate of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The secret with the authorities that are believed.
    pub ca: Name,
    /// Whether clients that show none are refused.
    pub required: bool,
    /// The names of which the certificate must have one, if any.
    pub subject_alt_names: Box<[SubjectAltName]>,
}

/// A protocol agreed on within TLS (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2
    H2,
    /// HTTP/1.1
    Http11,
}

/// A version of TLS, the lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
}

/// A name a certificate is to have among its subject alternative names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectAltName {
    /// A DNS name, lower case.
    Dns(Box<str>),
    /// The end of a DNS name, lower case, with the dot it begins with.
    DnsSuffix(Box<str>),
    /// A URI.
    Uri(Box<str>),
    /// The beginning of a URI, with the slash it ends with.
    UriPrefix(Box<str>),
}

impl UpstreamTls {
    pub(super) fn read(check: &mut Checker, message: v1::UpstreamTls) -> Self {
        let this = Self {
            ca: read_secret(check, "tls.ca", message.ca),
            server_name: message.server_name.and_then(|name| {
                let read = ServerName::try_from(name.clone());
                read.map_err(|_| {
                    let fault = format!("\"{name}\" is neither a host name nor an IP address");
                    check.fault("tls.server_name", fault);
                })
                .ok()
            }),
            subject_alt_names: SubjectAltName::read_all(
                check,
                "tls.subject_alt_names",
                message.subject_alt_names,
            ),
            certificate: read_secret(check, "tls.certificate", message.certificate),
            min_version: TlsVersion::read(check, "tls.min_version", message.min_version)
                .unwrap_or(TlsVersion::Tls12),
            insecure_skip_verify: message.insecure_skip_verify,
        };
        if this.insecure_skip_verify && (this.ca.is_some() || !this.subject_alt_names.is_empty()) {
            check.fault(
                "tls.insecure_skip_verify",
                "believes any certificate: take it away, or `ca` and `subject_alt_names`, which it would make void",
            );
        }
        this
    }
}

impl ClientCertificates {
    pub(super) fn read(check: &mut Checker, message: v1::ClientCertificates) -> Option<Self> {
        use v1::client_certificates::ClientCertificateMode;
        const FIELD: &str = "tls.client_certificates";
        let required = message.mode() != ClientCertificateMode::Optional;
        let ca = if message.ca.is_empty() {
            let fault = "is missing: name the secret with the authorities that are believed";
            check.fault(format!("{FIELD}.ca"), fault);
            None
        } else {
            read_secret(check, &format!("{FIELD}.ca"), Some(message.ca))
        };
        let names = format!("{FIELD}.subject_alt_names");
        let subject_alt_names = SubjectAltName::read_all(check, &names, message.subject_alt_names);
        Some(Self {
            ca: ca?,
            required,
            subject_alt_names,
        })
    }
}

impl Alpn {
    /// Its name on the wire.
    #[must_use]
    pub const fn id(self) -> &'static [u8] {
        match self {
            Self::H2 => b"h2",
            Self::Http11 => b"http/1.1",
        }
    }

    /// Reads a list; empty means every one.
    pub(super) fn read_all(check: &mut Checker, names: &[String]) -> Box<[Self]> {
        let mut read = Vec::new();
        for (index, name) in names.iter().enumerate().take(MAX_NAMES) {
            let field = || format!("tls.alpn[{index}]");
            let one = match name.as_str() {
                "h2" => Self::H2,
                "http/1.1" => Self::Http11,
                _ => {
                    check.fault(field(), format!("\"{name}\" is not `h2` or `http/1.1`"));
                    continue;
                }
            };
            if read.contains(&one) {
                check.fault(field(), format!("names {name} a second time"));
            }
            read.push(one);
        }
        if names.is_empty() {
            read = vec![Self::H2, Self::Http11];
        }
        read.into()
    }
}

impl TlsVersion {
    /// The version of a field; none where it is left to its default.
    pub(super) fn read(check: &mut Checker, field: &str, value: i32) -> Option<Self> {
        match v1::TlsVersion::try_from(value) {
            Ok(v1::TlsVersion::Unspecified) => None,
            Ok(v1::TlsVersion::Tls12) => Some(Self::Tls12),
            Ok(v1::TlsVersion::Tls13) => Some(Self::Tls13),
            Err(_) => {
                check.fault(field, "must be TLS_1_2 or TLS_1_3");
                None
            }
        }
    }
}

impl SubjectAltName {
    /// Whether a certificate has such a name.
    #[must_use]
    pub fn is_of(&self, certificate: &CertificateFacts) -> bool {
        let mut names = certificate.dns_names.iter();
        match self {
            Self::Dns(wanted) => names.any(|name| stands_for(name, wanted)),
            Self::DnsSuffix(suffix) => names.any(|name| name.ends_with(&**suffix)),
            Self::Uri(wanted) => certificate.uris().any(|uri| uri == &**wanted),
            Self::UriPrefix(prefix) => certificate.uris().any(|uri| uri.starts_with(&**prefix)),
        }
    }

    pub(super) fn read_all(
        check: &mut Checker,
        field: &str,
        messages: Vec<v1::SubjectAltName>,
    ) -> Box<[Self]> {
        if messages.len() > MAX_NAMES {
            check.fault(field, format!("must be at most {MAX_NAMES}"));
        }
        let known = messages.into_iter().take(MAX_NAMES).enumerate();
        known
            .filter_map(|(index, message)| Self::read(check, &format!("{field}[{index}]"), message))
            .collect()
    }

    fn read(check: &mut Checker, field: &str, message: v1::SubjectAltName) -> Option<Self> {
        use v1::subject_alt_name::Match;
        let read = match message.r#match {
            Some(Match::Dns(name)) => match DnsName::try_from(&*name) {
                Ok(_) => Ok(Self::Dns(name.to_ascii_lowercase().into())),
                Err(_) => Err((
                    ".dns",
                    format!("\"{name}\" is no host name; for many names write `dns_suffix`"),
                )),
            },
            Some(Match::DnsSuffix(suffix)) => match suffix.strip_prefix('.').map(DnsName::try_from)
            {
                Some(Ok(_)) => Ok(Self::DnsSuffix(suffix.to_ascii_lowercase().into())),
                _ => Err((
                    ".dns_suffix",
                    format!("\"{suffix}\" is not a dot with a host name after it"),
                )),
            },
            Some(Match::Uri(uri)) if uri.contains(':') => Ok(Self::Uri(uri.into())),
            Some(Match::Uri(uri)) => Err((".uri", format!("\"{uri}\" is no URI"))),
            Some(Match::UriPrefix(prefix)) if has_authority(&prefix) && prefix.ends_with('/') => {
                Ok(Self::UriPrefix(prefix.into()))
            }
            Some(Match::UriPrefix(prefix)) => Err((
                ".uri_prefix",
                format!(
                    "\"{prefix}\" is not the beginning of a URI up to a slash, such as spiffe://example.com/"
                ),
            )),
            None => Err((
                "",
                "says no name: give `dns`, `dns_suffix`, `uri` or `uri_prefix`".to_owned(),
            )),
        };
        read.map_err(|(part, message)| check.fault(format!("{field}{part}"), message))
            .ok()
    }
}

/// Whether a name in a certificate is `wanted` or a wildcard for it.
fn stands_for(name: &str, wanted: &str) -> bool {
    let wildcard = || {
        let (_, rest) = wanted.split_once('.')?;
        Some(name.strip_prefix("*.")? == rest)
    };
    name == wanted || wildcard().unwrap_or_default()
}

/// Whether a URI goes beyond `scheme://`, so that a prefix of it cannot take foreign authorities.
fn has_authority(uri: &str) -> bool {
    uri.split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && rest.find('/') > Some(0))
}

pub(super) fn read_secret(check: &mut Checker, field: &str, name: Option<String>) -> Option<Name> {
    check.take(|| field.to_owned(), Name::new(&name?))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn certificate(dns: &[&str], uris: &[&str]) -> CertificateFacts {
        CertificateFacts {
            subject: "".into(),
            issuer: "".into(),
            dns_names: dns.iter().map(|name| (*name).into()).collect(),
            other_names: uris.iter().map(|uri| format!("URI:{uri}").into()).collect(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
        }
    }

    #[test]
    fn names_are_matched_whole_by_their_end_and_by_their_beginning() {
        let shown = certificate(
            &["api.example.com", "*.example.org"],
            &["spiffe://example.com/ns/shop/sa/users"],
        );
        let cases = [
            (SubjectAltName::Dns("api.example.com".into()), true),
            (SubjectAltName::Dns("any.example.org".into()), true),
            (SubjectAltName::Dns("a.b.example.org".into()), false),
            (SubjectAltName::Dns("example.org".into()), false),
            (SubjectAltName::Dns("example.com".into()), false),
            (SubjectAltName::DnsSuffix(".example.com".into()), true),
            (SubjectAltName::DnsSuffix(".api.example.com".into()), false),
            (
                SubjectAltName::Uri("spiffe://example.com/ns/shop/sa/users".into()),
                true,
            ),
            (
                SubjectAltName::Uri("spiffe://example.com/ns/shop".into()),
                false,
            ),
            (
                SubjectAltName::UriPrefix("spiffe://example.com/ns/shop/".into()),
                true,
            ),
            (
                SubjectAltName::UriPrefix("spiffe://example.com/ns/bank/".into()),
                false,
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(name.is_of(&shown), expected, "{name:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_uri_has_a_whole_authority() {
        for (prefix, expected) in [
            ("spiffe://example.com/", true),
            ("spiffe:///", false),
            ("spiffe://", false),
            ("spiffe://example.com", false),
            ("/", false),
        ] {
            assert_eq!(has_authority(prefix), expected, "{prefix}");
        }
    }
}
