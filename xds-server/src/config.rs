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
//! | `drain_timeout` | `--drain-timeout` | `FLEETWAY_XDS_DRAIN_TIMEOUT` |
//!
//! Variables of the other programs (`FLEETWAY_PROXY_…`, `FLEETWAY_SERVER`) are none of ours.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::bail;
use fleetway_api::{bootstrap, proto};
use serde::{Deserialize, Serialize};

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
    /// How long requests in flight may go on once the server is to stop.
    pub drain_timeout: Duration,
}

/// What one source of settings says: the file, the environment, the flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// The folder for the state; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where REST is served [default: 127.0.0.1:7080]; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT")]
    rest: Option<SocketAddr>,
    /// Where discovery streams are served [default: 127.0.0.1:7081]
    #[arg(long, value_name = "IP:PORT")]
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
    /// How long requests in flight may go on when the server stops [default: 30s]
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<proto::Duration>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// When one cannot be read, has an unknown key or a bad value, or `data` is in none of them.
    pub fn load(file: Option<&Path>, flags: &Source) -> anyhow::Result<Self> {
        let all = bootstrap::read(file, ENV_PREFIX, flags)?;
        let Some(data) = all.data else {
            bail!(
                "no data directory: give --data DIR, {ENV_PREFIX}DATA or `data` in the --config file"
            );
        };
        let drain_timeout = all.drain_timeout.map(Duration::try_from).transpose()?;
        Ok(Self {
            data,
            rest: all.rest.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7080))),
            xds: all.xds.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7081))),
            log: all.log.unwrap_or_else(|| "info".to_owned()),
            keep_revisions: all.keep_revisions.unwrap_or(10_000),
            max_body_bytes: all.max_body_bytes.unwrap_or(64 << 20),
            drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(30)),
        })
    }
}
