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
//! | `drain_timeout` | | `FLEETWAY_XDS_DRAIN_TIMEOUT` |
//!
//! Variables of the other programs (`FLEETWAY_PROXY_…`, `FLEETWAY_SERVER`) are none of ours.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use figment::{
    Figment, Provider,
    providers::{Env, Format as _, Toml, Yaml},
};
use fleetway_api::proto;
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
    pub drain_timeout: std::time::Duration,
}

/// What one source says. Also the flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// The folder for the state; made if it is not there
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// Where REST is served [default: 127.0.0.1:7080]; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<SocketAddr>,
    /// Where discovery streams are served [default: 127.0.0.1:7081]
    #[arg(long, value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    xds: Option<SocketAddr>,
    /// What is logged: error, warn, info, debug, trace, or by module [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// How many revisions the log keeps, 0 for all [default: 10000]
    #[arg(long, value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_revisions: Option<u64>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_body_bytes: Option<usize>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<proto::Duration>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// When one cannot be read, has an unknown key or a bad value, or `data` is in none of them.
    pub fn load(file: Option<&Path>, flags: Source) -> anyhow::Result<Self> {
        let mut all = Source::default();
        if let Some(path) = file {
            all = all.overlaid(read_file(path)?);
        }
        // Names are compared in any case, as figment has it; values are read as YAML would.
        let environment = Source::read(Env::prefixed(ENV_PREFIX), |key| {
            format!(
                "the environment variable {ENV_PREFIX}{}",
                key.to_ascii_uppercase()
            )
        })?;
        all = all.overlaid(environment).overlaid(flags);
        let Some(data) = all.data else {
            bail!(
                "no data directory: give --data DIR, {ENV_PREFIX}DATA or `data` in the --config file"
            );
        };
        let drain_timeout = match all.drain_timeout.map(TryInto::try_into) {
            None => std::time::Duration::from_secs(30),
            Some(Ok(timeout)) => timeout,
            Some(Err(error)) => bail!("drain_timeout: {error}"),
        };
        Ok(Self {
            data,
            rest: all.rest.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7080))),
            xds: all.xds.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7081))),
            log: all.log.unwrap_or_else(|| "info".to_owned()),
            keep_revisions: all.keep_revisions.unwrap_or(10_000),
            max_body_bytes: all.max_body_bytes.unwrap_or(64 << 20),
            drain_timeout,
        })
    }
}

impl Source {
    /// Reads one source. `name` names a key's place in it, or the whole for an empty key.
    fn read(provider: impl Provider, name: impl Fn(&str) -> String) -> anyhow::Result<Self> {
        let figment = Figment::from(provider);
        figment.extract().map_err(|error| {
            let reasons: Vec<String> = error
                .into_iter()
                .map(|error| {
                    let key = match &error.kind {
                        figment::error::Kind::UnknownField(key, _) => key.clone(),
                        _ => error.path.join("."),
                    };
                    let reason = error.kind.to_string().replace('`', "\"");
                    format!("{}: {reason}", name(&key))
                })
                .collect();
            anyhow!(reasons.join("\n"))
        })
    }

    /// This one, with what `above` says in its place.
    fn overlaid(self, above: Self) -> Self {
        Self {
            data: above.data.or(self.data),
            rest: above.rest.or(self.rest),
            xds: above.xds.or(self.xds),
            log: above.log.or(self.log),
            keep_revisions: above.keep_revisions.or(self.keep_revisions),
            max_body_bytes: above.max_body_bytes.or(self.max_body_bytes),
            drain_timeout: above.drain_timeout.or(self.drain_timeout),
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Source> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let name = |key: &str| match key {
        "" => path.display().to_string(),
        key => format!("{}: {key}", path.display()),
    };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => Source::read(Yaml::string(&text), name),
        Some("toml") => Source::read(Toml::string(&text), name),
        _ => bail!(
            "{}: the configuration must be a .yaml, .yml or .toml file",
            path.display()
        ),
    }
}
