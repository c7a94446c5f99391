//! The bootstrap configuration: defaults < file < environment < flags.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml, Yaml},
};
use serde::{Deserialize, Serialize, Serializer};

/// The Fleetway proxy: serves the configuration a management server or a folder gives it.
///
/// Every flag can also stand in the file given by --config (node_id: edge-1) and in the
/// environment (FLEETWAY_PROXY_NODE_ID=edge-1). Flags win over the environment, the environment
/// over the file.
#[derive(Debug, Parser, Serialize)]
#[command(name = "fleetway-proxy", version)]
pub struct Flags {
    /// Management servers, http://HOST:PORT, separated by commas; tried in turn
    #[arg(long, value_name = "URL[,URL]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    xds: Option<String>,

    /// Serve the resource files of this folder instead of a server's configuration
    #[arg(long, value_name = "DIR", conflicts_with = "xds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<PathBuf>,

    /// The name the server knows this proxy by, unique in the fleet
    #[arg(long, value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,

    /// The fleet this proxy belongs to [default: default]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<String>,

    /// Where the admin page listens [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<SocketAddr>,

    /// The folder for the last good configuration and addresses.json [default: fleetway-state]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<PathBuf>,

    /// How many worker threads [default: one for each core]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<usize>,

    /// How long requests in flight may go on after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<String>,

    /// What to log: error, warn, info, debug, trace, or a filter such as info,fleetway_proxy::xds=debug
    /// [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,

    /// A configuration file, YAML or (by its ending) TOML
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// The bootstrap configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Management servers, separated by commas.
    pub xds: String,
    /// The folder of resource files.
    pub resources: Option<PathBuf>,
    /// The node's id.
    pub node_id: String,
    /// The node's fleet.
    pub fleet: String,
    /// Where the admin page listens.
    pub admin: SocketAddr,
    /// The state folder.
    pub state: PathBuf,
    /// Worker threads; 0 means one for each core.
    pub workers: usize,
    /// How long requests may go on after SIGTERM.
    pub drain_timeout: Span,
    /// The log filter.
    pub log: String,
}

/// A duration written as in resources: `250ms`, `2s`, `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "fleetway_api::proto::Duration")]
pub struct Span(pub Duration);

impl TryFrom<fleetway_api::proto::Duration> for Span {
    type Error = fleetway_api::proto::ParseDurationError;

    fn try_from(value: fleetway_api::proto::Duration) -> Result<Self, Self::Error> {
        Duration::try_from(value).map(Self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            xds: String::new(),
            resources: None,
            node_id: String::new(),
            fleet: "default".to_owned(),
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            state: PathBuf::from("fleetway-state"),
            workers: 0,
            drain_timeout: Span(Duration::from_secs(30)),
            log: "info".to_owned(),
        }
    }
}

/// What is wrong with the configuration: the key, where it was set, and the remedy.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Puts the sources together.
    ///
    /// # Errors
    /// For an unknown key, a value of the wrong shape, or values that do not go together; names
    /// the key and the source.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = &flags.config {
            if !path.is_file() {
                return Err(ConfigError(format!(
                    "--config {}: no such file",
                    path.display()
                )));
            }
            let toml = path.extension().is_some_and(|ending| ending == "toml");
            figment = if toml {
                figment.merge(Toml::file_exact(path))
            } else {
                figment.merge(Yaml::file_exact(path))
            };
        }
        figment = figment
            .merge(Env::prefixed("FLEETWAY_PROXY_"))
            .merge(Serialized::from(flags, figment::Profile::Default));
        let config: Self = figment.extract().map_err(|error| {
            let faults: Vec<String> = error.into_iter().map(|fault| describe(&fault)).collect();
            ConfigError(faults.join("\n"))
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let fault = |text: &str| Err(ConfigError(text.to_owned()));
        match (self.xds.is_empty(), &self.resources) {
            (true, None) => {
                return fault(
                    "xds: no source of configuration: give --xds http://HOST:PORT or --resources DIR",
                );
            }
            (false, Some(_)) => {
                return fault("resources: cannot go with xds: choose a server or a folder");
            }
            _ => {}
        }
        if !self.xds.is_empty() && self.node_id.is_empty() {
            return fault("node_id: is missing: give --node-id, a name of this proxy's own");
        }
        if fleetway_api::Name::new(&self.fleet).is_err() {
            return fault("fleet: must be 1 to 253 characters of a-z, 0-9, \"-\", \"_\" and \".\"");
        }
        if self.workers > 1024 {
            return fault("workers: must be at most 1024; 0 means one for each core");
        }
        Ok(())
    }

    /// How many workers to start.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

fn describe(fault: &figment::Error) -> String {
    let key = fault.path.join(".");
    let source = fault
        .metadata
        .as_ref()
        .map_or_else(String::new, |metadata| {
            let place = metadata.source.as_ref().map(|source| format!(" {source}"));
            format!(" (in {}{})", metadata.name, place.unwrap_or_default())
        });
    if key.is_empty() {
        format!("{}{source}", fault.kind)
    } else {
        format!("{key}: {}{source}", fault.kind)
    }
}
