//! TLS to the management servers: whose certificates are believed, and what this proxy shows.

use std::path::{Path, PathBuf};

use fleetway_api::{
    FieldError, Resource,
    key_file::{self, KeyFileError},
    proto::v1,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use zeroize::Zeroizing;

/// The files TLS to the servers needs. They are read anew for each connection, so that what is
/// renewed is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The authorities, in PEM, one of which issued the servers' certificates.
    pub authorities: PathBuf,
    /// This proxy's certificate chain and its key, in PEM, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file that cannot be used. Says nothing of a key but whose it is not.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("{setting}: cannot read {}: {error}", .file.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It holds the key, and cannot be read or is open to others.
    #[error("xds_key: {0}")]
    Key(#[from] KeyFileError),
    /// What it says is not valid.
    #[error("{setting}: {}: {reason}", .file.display())]
    Content {
        /// The setting that names it.
        setting: &'static str,
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Trust {
    /// Reads the files. They are held to what secrets are: a bundle of authorities, a chain with
    /// its key.
    ///
    /// # Errors
    /// When one cannot be read or is not valid, or the key's is open to others.
    pub async fn read(&self) -> Result<ClientTlsConfig, Unusable> {
        let authorities = read("xds_ca", &self.authorities).await?;
        let bundle = v1::secret::Kind::Ca(v1::CaBundle {
            certificates: authorities.clone(),
            ..v1::CaBundle::default()
        });
        check(bundle, |_| ("xds_ca", &self.authorities))?;
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
        let Some((chain, key)) = &self.identity else {
            return Ok(config);
        };
        let (shown, private) = (read("xds_cert", chain).await?, read_key(key).await?);
        let certificate = v1::secret::Kind::Certificate(v1::Certificate {
            chain: shown.clone(),
            private_key: private.to_string(),
            ocsp_response: None,
        });
        check(certificate, |fault| match fault.field.as_str() {
            "certificate.private_key" => ("xds_key", key),
            _ => ("xds_cert", chain),
        })?;
        Ok(config.identity(Identity::from_pem(shown, private)))
    }
}

/// Holds what files say to the rules of secrets; `place` says which of them a fault is about.
fn check<'p>(
    kind: v1::secret::Kind,
    place: impl Fn(&FieldError) -> (&'static str, &'p PathBuf),
) -> Result<(), Unusable> {
    let secret = v1::Secret {
        name: "files".to_owned(),
        kind: Some(kind),
        ..v1::Secret::default()
    };
    let kind = Some(v1::resource::Kind::Secret(secret));
    let faults = Resource::read(v1::Resource { kind }).err();
    match faults.unwrap_or_default().into_iter().next() {
        None => Ok(()),
        Some(fault) => {
            let (setting, file) = place(&fault);
            Err(Unusable::Content {
                setting,
                file: file.clone(),
                reason: fault.message,
            })
        }
    }
}

async fn read(setting: &'static str, file: &Path) -> Result<String, Unusable> {
    let unreadable = |error| Unusable::File {
        setting,
        file: file.to_owned(),
        error,
    };
    let text = tokio::fs::read_to_string(file).await.map_err(unreadable)?;
    if text.trim().is_empty() {
        return Err(Unusable::Content {
            setting,
            file: file.to_owned(),
            reason: "is empty: it has to hold certificates in PEM".to_owned(),
        });
    }
    Ok(text)
}

async fn read_key(file: &Path) -> Result<Zeroizing<String>, Unusable> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || key_file::read(&path)).await;
    let read = read.map_err(|stopped| Unusable::File {
        setting: "xds_key",
        file: file.to_owned(),
        error: stopped.into(),
    })?;
    Ok(read?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_is_said_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let ((cert, key), (_, other)) = (pair("a.example"), pair("b.example"));
        let cut = cert.replace("-----END CERTIFICATE-----", "");
        for (name, text) in [
            ("cert", &cert),
            ("key", &key),
            ("other", &other),
            ("open", &key),
            ("cut", &cut),
            ("empty", &String::new()),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let mode = if name == "open" { 0o644 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let error = async |ca: &str, chain: &str, key: &str| {
            let file = |name: &str| folder.path().join(name);
            let trust = Trust {
                authorities: file(ca),
                identity: Some((file(chain), file(key))),
            };
            let error = trust.read().await.err()?.to_string();
            Some(error.replace(&format!("{}/", folder.path().display()), ""))
        };
        assert_eq!(error("cert", "cert", "key").await, None);
        for (ca, chain, key, says) in [
            (
                "none",
                "cert",
                "key",
                "xds_ca: cannot read none: No such file",
            ),
            ("key", "cert", "key", "xds_ca: key: holds no certificate"),
            ("empty", "cert", "key", "xds_ca: empty: is empty"),
            (
                "cut",
                "cert",
                "key",
                "xds_ca: cut: certificate 1 is no PEM: the block is not closed: `-----END CERTIFICATE-----` is missing",
            ),
            ("cert", "none", "key", "xds_cert: cannot read none: "),
            ("cert", "key", "key", "xds_cert: key: holds no certificate"),
            ("cert", "cert", "none", "xds_key: cannot read none: "),
            ("cert", "cert", "open", "xds_key: open is open to others"),
            (
                "cert",
                "cert",
                "cert",
                "xds_key: cert: holds no private key",
            ),
            (
                "cert",
                "cert",
                "other",
                "xds_key: other: is not the key of the first certificate of the chain",
            ),
        ] {
            let said = error(ca, chain, key).await.expect(says);
            assert!(said.starts_with(says), "{said}\nnot {says}");
        }
    }
}
