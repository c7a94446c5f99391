//! The configuration: defaults < file < environment < flags. What is not known or not readable is
//! refused, with the key and where it came from.
//!
//! | key | flag | variable |
//! |---|---|---|
//! | `data` | `--data` | `FLEETWAY_XDS_DATA` |
//! | `rest` | `--rest` | `FLEETWAY_XDS_REST` |
//! | `xds` | `--xds` | `FLEETWAY_XDS_XDS` |
//! | `log` | `--log` | `FLEETWAY_XDS_LOG` |
//! | `keep_revisions` | `--keep-revisions` | `FLEETWAY_XDS_KEEP_REVISIONS` |
//! | `max_body_bytes` | | `FLEETWAY_XDS_MAX_BODY_BYTES` |
//! | `max_component_size` | `--max-component-size` | `FLEETWAY_XDS_MAX_COMPONENT_SIZE` |
//! | `component_retention` | `--component-retention` | `FLEETWAY_XDS_COMPONENT_RETENTION` |
//! | `drain_timeout` | `--drain-timeout` | `FLEETWAY_XDS_DRAIN_TIMEOUT` |
//! | `master_key_file` | `--master-key-file` | `FLEETWAY_XDS_MASTER_KEY_FILE` |
//! | `master_key` | | `FLEETWAY_XDS_MASTER_KEY` |
//! | `tls_cert` | `--tls-cert` | `FLEETWAY_XDS_TLS_CERT` |
//! | `tls_key` | `--tls-key` | `FLEETWAY_XDS_TLS_KEY` |
//! | `tls_client_ca` | `--tls-client-ca` | `FLEETWAY_XDS_TLS_CLIENT_CA` |
//! | `tls_client_crl` | `--tls-client-crl` | `FLEETWAY_XDS_TLS_CLIENT_CRL` |
//! | `tls_client_identity` | `--tls-client-identity` | `FLEETWAY_XDS_TLS_CLIENT_IDENTITY` |
//!
//! Variables of the other programs (`FLEETWAY_PROXY_…`, `FLEETWAY_SERVER`) are none of ours.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytesize::ByteSize;
use fleetway_api::{Component, bootstrap, key_file, proto};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::{store::MasterKey, tls};

/// What the names of our environment variables begin with.
pub const ENV_PREFIX: &str = "FLEETWAY_XDS_";

/// How the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the state is kept. Made if it is not there.
    pub data: PathBuf,
    /// Where REST is served. Port 0: the operating system chooses.
    pub rest: SocketAddr,
    /// Where discovery streams are served.
    pub xds: SocketAddr,
    /// What is logged, as `tracing_subscriber::EnvFilter` has it: `info`, `fleetway_xds=debug`.
    pub log: String,
    /// How many revisions the log keeps; 0: all.
    pub keep_revisions: u64,
    /// The largest REST body.
    pub max_body_bytes: usize,
    /// The largest component, in bytes.
    pub max_component_size: usize,
    /// How long a component is kept that no policy names; `None`: for ever.
    pub component_retention: Option<Duration>,
    /// How long requests in flight may go on once the server is to stop.
    pub drain_timeout: Duration,
    /// What secrets are kept under; none are taken without it.
    pub master_key: Option<MasterKey>,
    /// The certificates both sockets are served with; in the clear without.
    pub tls: Option<tls::Files>,
}

/// A master key as text. Shown nowhere, wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct KeyText(String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText")
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What one source of settings says: the file, the environment, the flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// The folder for the state; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where REST is served [default: 127.0.0.1:7080]; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", value_parser = bootstrap::address)]
    #[serde(deserialize_with = "bootstrap::some_address")]
    rest: Option<SocketAddr>,
    /// Where discovery streams are served [default: 127.0.0.1:7081]
    #[arg(long, value_name = "IP:PORT", value_parser = bootstrap::address)]
    #[serde(deserialize_with = "bootstrap::some_address")]
    xds: Option<SocketAddr>,
    /// What is logged: error, warn, info, debug, trace, or by module [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How many revisions the log keeps, 0 for all [default: 10000]
    #[arg(long, value_name = "COUNT")]
    #[serde(deserialize_with = "bootstrap::number")]
    keep_revisions: Option<u64>,
    #[arg(skip)]
    #[serde(deserialize_with = "bootstrap::number")]
    max_body_bytes: Option<usize>,
    /// The largest component that is taken, up to 64MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    max_component_size: Option<ByteSize>,
    /// How long a component is kept that no policy names, 0s for ever [default: 24h]
    #[arg(long, value_name = "DURATION")]
    component_retention: Option<proto::Duration>,
    /// How long requests in flight may go on when the server stops [default: 30s]
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<proto::Duration>,
    /// The file with the master key that secrets are kept under; fleetway-xds generate-key makes one
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    #[arg(skip)]
    master_key: Option<KeyText>,
    /// The server's certificate chain in PEM: REST and streams are then served over TLS
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities in PEM: who opens a stream must show a certificate of one of them
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Revocation lists of those authorities in PEM
    #[arg(long, value_name = "FILE")]
    tls_client_crl: Option<PathBuf>,
    /// What of a client's certificate says which node and fleet it may be [default: san]
    #[arg(long, value_name = "HOW")]
    tls_client_identity: Option<ClientIdentity>,
}

/// How a client's certificate is tied to the node and fleet the client says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClientIdentity {
    /// Its URI names say which node of which fleet it may be
    San,
    /// Whoever may connect may be any node of any fleet: who has a certificate where they are
    /// asked for, else everybody
    Off,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// When one cannot be read, has an unknown key or a bad value, or `data` is in none of them.
    pub fn load(file: Option<&Path>, flags: &Source) -> anyhow::Result<Self> {
        let all = bootstrap::read(file, ENV_PREFIX, flags)?;
        let Some(data) = all.data.clone() else {
            bail!(
                "no data directory: give --data DIR, {ENV_PREFIX}DATA or `data` in the --config file"
            );
        };
        let master_key = master_key(all.master_key_file.as_deref(), all.master_key.as_ref())?;
        let tls = tls(&all)?;
        let drain_timeout = all.drain_timeout.map(Duration::try_from).transpose()?;
        let retention = all
            .component_retention
            .map(Duration::try_from)
            .transpose()?;
        let retention = retention.unwrap_or(Duration::from_secs(24 * 3600));
        Ok(Self {
            data,
            rest: all.rest.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7080))),
            xds: all.xds.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7081))),
            log: all.log.unwrap_or_else(|| "info".to_owned()),
            keep_revisions: all.keep_revisions.unwrap_or(10_000),
            max_body_bytes: all.max_body_bytes.unwrap_or(64 << 20),
            max_component_size: max_component_size(all.max_component_size)?,
            component_retention: (!retention.is_zero()).then_some(retention),
            drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(30)),
            master_key,
            tls,
        })
    }
}

fn max_component_size(size: Option<ByteSize>) -> anyhow::Result<usize> {
    let most = Component::MAX_BYTES;
    let Some(size) = size else { return Ok(most) };
    let size = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
    ensure!(
        (1..=most).contains(&size),
        "max_component_size: must be between 1B and 64MiB"
    );
    Ok(size)
}

fn tls(all: &Source) -> anyhow::Result<Option<tls::Files>> {
    let identity = all.tls_client_identity;
    if all.tls_client_ca.is_none() {
        ensure!(
            all.tls_client_crl.is_none(),
            "tls_client_crl: has no effect without tls_client_ca: give --tls-client-ca, or leave --tls-client-crl out"
        );
        ensure!(
            identity != Some(ClientIdentity::San),
            "tls_client_identity: san has no effect without tls_client_ca: give --tls-client-ca, or leave --tls-client-identity out"
        );
    }
    let clients = all.tls_client_ca.clone().map(|ca| tls::Clients {
        ca,
        crl: all.tls_client_crl.clone(),
    });
    match (all.tls_cert.clone(), all.tls_key.clone()) {
        (Some(cert), Some(key)) => Ok(Some(tls::Files {
            cert,
            key,
            clients,
            identity: identity.unwrap_or(ClientIdentity::San),
        })),
        (Some(_), None) => bail!("tls_key: is missing: give --tls-cert and --tls-key"),
        (None, None) if clients.is_none() && identity.is_none() => Ok(None),
        (None, _) => bail!("tls_cert: is missing: give --tls-cert and --tls-key"),
    }
}

fn master_key(file: Option<&Path>, text: Option<&KeyText>) -> anyhow::Result<Option<MasterKey>> {
    match (file, text) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => bail!("master_key: cannot go with master_key_file: give one of them"),
        (Some(file), None) => read_key(file).context("master_key_file").map(Some),
        (None, Some(KeyText(text))) => {
            let key = MasterKey::from_text(text).context("master_key")?;
            Ok(Some(key))
        }
    }
}

/// Reads a master key from a file.
///
/// # Errors
/// When it cannot be read, others can read it too, or it holds none.
pub fn read_key(file: &Path) -> anyhow::Result<MasterKey> {
    let text = key_file::read(file)?;
    MasterKey::from_text(&text).with_context(|| file.display().to_string())
}
