//! TLS of the server's own sockets: certificates from files, read again when they change.
//!
//! The files are held to what secrets are: one certificate chain with its key, one bundle of
//! authorities, none of them past its time. A connection keeps what it was opened with.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use fleetway_api::{Resource, Secret, SecretKind, key_file, proto::v1};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateRevocationListDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{config::ClientIdentity, delta::Exposure};

mod handshake;

pub(crate) use handshake::handshake;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate and those that issued it, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// What clients of the discovery streams must show, if anything.
    pub clients: Option<Clients>,
    /// What of a client's certificate says who it may be. `Off` without `clients`: secrets go to
    /// whoever connects.
    pub identity: ClientIdentity,
}

impl Files {
    /// Who, of those beyond loopback, can have the secrets that are sent.
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        match (&self.clients, self.identity) {
            (None, ClientIdentity::San) => Exposure::Unidentified,
            (Some(_), _) | (None, ClientIdentity::Off) => Exposure::None,
        }
    }
}

/// What to warn of where streams are served at this address: whoever reaches it and is not asked
/// who it is.
#[must_use]
pub fn open_to(address: SocketAddr, files: Option<&Files>) -> Option<&'static str> {
    use ClientIdentity::{Off, San};
    if address.ip().to_canonical().is_loopback() {
        return None;
    }
    match files.map(|files| (&files.clients, files.identity)) {
        None => Some(
            "discovery streams are bound beyond loopback in the clear: whoever reaches the address can claim any fleet and have its configuration, but for its secrets. Give --tls-cert, --tls-key and --tls-client-ca",
        ),
        Some((None, San)) => Some(
            "discovery streams are bound beyond loopback and nobody is asked for a certificate: whoever reaches the address can claim any fleet and have its configuration, but for its secrets. Give --tls-client-ca",
        ),
        Some((None, Off)) => Some(
            "discovery streams are bound beyond loopback and nobody is asked for a certificate: whoever reaches the address can claim any fleet and have its secrets. Give --tls-client-ca, and leave --tls-client-identity off out",
        ),
        Some((Some(_), Off)) => Some(
            "discovery streams are bound beyond loopback and no certificate is tied to a fleet: whoever has one can claim any fleet and have its secrets. Leave --tls-client-identity off out",
        ),
        Some((Some(_), San)) => None,
    }
}

/// Which certificates clients of the discovery streams must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// Authorities, in PEM: one of them issued it.
    pub ca: PathBuf,
    /// Their revocation lists, in PEM.
    pub crl: Option<PathBuf>,
}

/// What the files say.
#[derive(PartialEq, Eq)]
struct Texts {
    cert: String,
    key: Zeroizing<String>,
    client_ca: Option<String>,
    client_crl: Option<String>,
}

/// What the files were when they were looked at last.
struct Looked {
    texts: Texts,
    /// Why they were not taken over.
    fault: Option<String>,
}

/// How the two sockets are served.
#[derive(Debug)]
struct Configs {
    rest: Arc<ServerConfig>,
    xds: Arc<ServerConfig>,
}

/// The server's certificates, as they are now.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    configs: ArcSwap<Configs>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or what it says is not valid today; names the setting and the file.
    pub fn load(files: &Files) -> anyhow::Result<Self> {
        let configs = build(files, &read(files)?, SystemTime::now())?;
        Ok(Self {
            files: files.clone(),
            configs: ArcSwap::from_pointee(configs),
        })
    }

    /// How REST is served to the next connection.
    #[must_use]
    pub fn rest(&self) -> Arc<ServerConfig> {
        self.configs.load().rest.clone()
    }

    /// How discovery streams are served to the next connection.
    #[must_use]
    pub fn xds(&self) -> Arc<ServerConfig> {
        self.configs.load().xds.clone()
    }

    /// Whether the certificates of clients say who they may be.
    #[must_use]
    pub fn identifies_clients(&self) -> bool {
        self.files.clients.is_some() && self.files.identity == ClientIdentity::San
    }

    /// Where the certificates are.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Takes changed files over, on SIGHUP and every now and then, until `stopping`. Files that are
    /// not valid are logged once and change nothing.
    pub async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("cannot wait for SIGHUP: certificates are not read again");
            return;
        };
        let mut known: Option<Looked> = None;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = hangup.recv() => {}
                _ = ticks.tick() => {}
            }
            let tls = self.clone();
            let last = known.take();
            let looked = tokio::task::spawn_blocking(move || tls.look(last));
            known = looked.await.ok().flatten();
        }
    }

    /// Reads the files, and takes them over if they are not what they were. Those that were
    /// refused are tried again: their time may have come.
    fn look(&self, known: Option<Looked>) -> Option<Looked> {
        let texts = match read(&self.files) {
            Ok(texts) => texts,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "cannot read the server's certificates again");
                return known;
            }
        };
        let same = known.as_ref().filter(|known| known.texts == texts);
        if same.is_some_and(|known| known.fault.is_none()) {
            return known;
        }
        let fault = match build(&self.files, &texts, SystemTime::now()) {
            Ok(configs) => {
                self.configs.store(Arc::new(configs));
                if known.is_some() {
                    tracing::info!("took over changed certificates");
                }
                None
            }
            Err(error) => {
                let error = format!("{error:#}");
                if same.is_none_or(|known| known.fault.as_ref() != Some(&error)) {
                    tracing::error!(
                        error,
                        "the changed certificates are not valid, those before stay"
                    );
                }
                Some(error)
            }
        };
        Some(Looked { texts, fault })
    }
}

fn read(files: &Files) -> anyhow::Result<Texts> {
    let text = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let clients = files.clients.as_ref();
    Ok(Texts {
        cert: text(&files.cert).context("tls_cert")?,
        key: key_file::read(&files.key).context("tls_key")?,
        client_ca: clients
            .map(|clients| text(&clients.ca).context("tls_client_ca"))
            .transpose()?,
        client_crl: clients
            .and_then(|clients| clients.crl.as_deref())
            .map(|path| text(path).context("tls_client_crl"))
            .transpose()?,
    })
}

fn build(files: &Files, texts: &Texts, now: SystemTime) -> anyhow::Result<Configs> {
    let message = v1::secret::Kind::Certificate(v1::Certificate {
        chain: texts.cert.clone(),
        private_key: texts.key.to_string(),
        ocsp_response: None,
    });
    let cert = format!("tls_cert: {}", files.cert.display());
    let place = |field: &str| match field {
        "certificate.private_key" => format!("tls_key: {} (with {cert})", files.key.display()),
        _ => cert.clone(),
    };
    let secret = secret(message, place)?;
    let faults = secret.facts().iter().filter_map(|facts| {
        let fault = facts.expired(now).or_else(|| facts.not_yet_valid(now))?;
        Some(format!("{cert}: {fault}"))
    });
    refuse(faults.collect())?;
    let SecretKind::Certificate(certificate) = secret.kind else {
        anyhow::bail!("{cert}: is no certificate");
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = || {
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()
    };
    let resolver = Arc::new(SingleCertAndKey::from(certificate.certified.clone()));
    let mut rest = config()?
        .with_no_client_auth()
        .with_cert_resolver(resolver.clone());
    rest.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut xds = match (&texts.client_ca, &files.clients) {
        (Some(ca), Some(clients)) => {
            let verifier = verifier(clients, ca, texts.client_crl.as_deref(), &provider, now)?;
            config()?.with_client_cert_verifier(verifier)
        }
        _ => config()?.with_no_client_auth(),
    }
    .with_cert_resolver(resolver);
    xds.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Configs {
        rest: Arc::new(rest),
        xds: Arc::new(xds),
    })
}

/// Verifies clients by the texts of the files. With revocation lists every certificate of a chain
/// has to be covered by a current one, as of clients of listeners. Authorities past their time are
/// believed, as everywhere.
fn verifier(
    clients: &Clients,
    ca: &str,
    crl: Option<&str>,
    provider: &Arc<CryptoProvider>,
    now: SystemTime,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let message = v1::secret::Kind::Ca(v1::CaBundle {
        certificates: ca.to_owned(),
        crls: crl.map(ToOwned::to_owned),
        ..v1::CaBundle::default()
    });
    let authorities = format!("tls_client_ca: {}", clients.ca.display());
    let place = |field: &str| match &clients.crl {
        Some(crl) if field == CRLS => format!("tls_client_crl: {}", crl.display()),
        _ => authorities.clone(),
    };
    let secret = secret(message, place)?;
    let unusable = secret.unusable(now).into_iter();
    let lists = unusable.filter(|fault| fault.field == CRLS);
    refuse(
        lists
            .map(|fault| format!("{}: {}", place(CRLS), fault.message))
            .collect(),
    )?;
    let SecretKind::Ca(bundle) = secret.kind else {
        anyhow::bail!("{authorities}: is no bundle of authorities");
    };
    let mut builder = WebPkiClientVerifier::builder_with_provider(bundle.roots, provider.clone());
    if let Some(crl) = crl {
        let lists = CertificateRevocationListDer::pem_slice_iter(crl.as_bytes());
        let lists: Vec<_> = lists.collect::<Result<_, _>>()?;
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    builder.build().context(authorities)
}

/// The field of a secret with revocation lists.
const CRLS: &str = "ca.crls";

/// Reads what files say by the rules of secrets; `place` is the setting and the file that stand
/// for a field of the secret.
fn secret(kind: v1::secret::Kind, place: impl Fn(&str) -> String) -> anyhow::Result<Secret> {
    let secret = v1::Secret {
        name: "files".to_owned(),
        kind: Some(kind),
        ..v1::Secret::default()
    };
    let kind = Some(v1::resource::Kind::Secret(secret));
    match Resource::read(v1::Resource { kind }) {
        Ok(Resource::Secret(secret)) => Ok(*secret),
        Ok(_) => anyhow::bail!("{}: is no secret", place("")),
        Err(faults) => {
            let faults = faults.iter().map(|fault| {
                let message = fault.message.replace("`ca.crls`", "`tls_client_crl`");
                format!("{}: {message}", place(&fault.field))
            });
            anyhow::bail!(faults.collect::<Vec<_>>().join("\n"))
        }
    }
}

fn refuse(faults: Vec<String>) -> anyhow::Result<()> {
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(asked: bool, identity: ClientIdentity) -> Files {
        Files {
            cert: "c".into(),
            key: "k".into(),
            clients: asked.then(|| Clients {
                ca: "a".into(),
                crl: None,
            }),
            identity,
        }
    }

    #[test]
    fn who_is_not_asked_for_a_certificate_has_secrets_only_where_that_was_said() {
        use ClientIdentity::{Off, San};
        for (asked, identity, exposure) in [
            (true, San, Exposure::None),
            (true, Off, Exposure::None),
            (false, San, Exposure::Unidentified),
            (false, Off, Exposure::None),
        ] {
            assert_eq!(files(asked, identity).exposure(), exposure);
        }
    }

    #[test]
    fn an_address_beyond_loopback_that_asks_not_who_connects_is_warned_of() {
        use ClientIdentity::{Off, San};
        let open: SocketAddr = "0.0.0.0:7081".parse().unwrap();
        for (files, says) in [
            (None, "in the clear"),
            (
                Some(files(false, San)),
                "but for its secrets. Give --tls-client-ca",
            ),
            (
                Some(files(false, Off)),
                "have its secrets. Give --tls-client-ca",
            ),
            (
                Some(files(true, Off)),
                "whoever has one can claim any fleet",
            ),
        ] {
            let told = open_to(open, files.as_ref()).unwrap();
            assert!(told.contains(says), "{told}");
            for local in ["127.0.0.1:1", "[::1]:1"] {
                assert_eq!(open_to(local.parse().unwrap(), files.as_ref()), None);
            }
        }
        assert_eq!(open_to(open, Some(&files(true, San))), None);
    }
}
