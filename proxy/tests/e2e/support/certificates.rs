//! An authority and certificates of its own, made anew for each test.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A certificate authority, with its certificate on disk for the clients that read files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub pem: String,
    folder: TempDir,
}

/// A certificate with its key, both in PEM.
pub struct Issued {
    /// The certificate, then the authority's.
    pub chain: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// One called `name`.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), &pem).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            pem,
            folder,
        }
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The settings of a client that believes it.
    pub fn client_config(&self) -> rustls::ClientConfig {
        self.client_config_builder().with_no_client_auth()
    }

    /// The same, of one that speaks HTTP/2 or HTTP/1.1 only.
    pub fn client_config_speaking(&self, version2: bool) -> rustls::ClientConfig {
        let mut config = self.client_config();
        let only: &[u8] = if version2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![only.to_vec()];
        config
    }

    /// The same, of one that shows a certificate.
    pub fn client_config_with(&self, shown: &Issued) -> rustls::ClientConfig {
        let chain = CertificateDer::pem_slice_iter(shown.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("PEM");
        self.client_config_builder()
            .with_client_auth_cert(chain, key)
            .expect("a key of the certificate")
    }

    fn client_config_builder(
        &self,
    ) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM");
        roots.add(certificate).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
    }

    /// The secret that holds its certificate.
    pub fn secret(&self, name: &str) -> Value {
        json!({"kind": "Secret", "name": name, "ca": {"certificates": self.pem}})
    }

    /// A certificate for these names, whose first is also the subject.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// The same, with something about it changed.
    pub fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let all: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(all).expect("names");
        let subject = names.first().copied().unwrap_or_default();
        params.distinguished_name.push(DnType::CommonName, subject);
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            chain: format!("{}{}", leaf.pem(), self.pem),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// The secret that holds it.
    pub fn secret(&self, name: &str) -> Value {
        json!({
            "kind": "Secret", "name": name,
            "certificate": {"chain": self.chain, "private_key": self.key},
        })
    }
}
