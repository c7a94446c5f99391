//! The bootstrap configuration: defaults < file < environment < flags.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use clap::Parser;
use fleetway_api::{Name, bootstrap, proto};
use serde::{Deserialize, Serialize};

/// The most workers.
const MAX_WORKERS: usize = 1024;
/// What the names of our environment variables begin with.
pub const ENV_PREFIX: &str = "FLEETWAY_PROXY_";

/// The Fleetway proxy: serves the configuration a management server or a folder gives it.
///
/// Every setting can be given as a flag, as an environment variable (FLEETWAY_PROXY_NODE_ID,
/// FLEETWAY_PROXY_XDS and so on) or in the configuration file; the first of these that has it counts.
#[derive(Debug, Parser)]
#[command(name = "fleetway-proxy", version)]
pub struct Arguments {
    /// A configuration file, YAML or TOML by its extension
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Source,
}

/// What one source of settings says: the file, the environment, the flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// Management servers, http://HOST:PORT or https://…, separated by commas; one of them is used at a time
    #[arg(long, value_name = "URL[,URL]")]
    xds: Option<String>,

    /// Authorities in PEM: one of them issued the certificate of a server at https://…
    #[arg(long, value_name = "FILE")]
    xds_ca: Option<PathBuf>,

    /// This proxy's certificate chain in PEM, for servers that ask for one
    #[arg(long, value_name = "FILE")]
    xds_cert: Option<PathBuf>,

    /// The key of that certificate in PEM
    #[arg(long, value_name = "FILE")]
    xds_key: Option<PathBuf>,

    /// Serve the resource files of this folder instead of a server's configuration
    #[arg(long, value_name = "DIR", conflicts_with = "xds")]
    resources: Option<PathBuf>,

    /// The name the server knows this proxy by, unique among all
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,

    /// The fleet this proxy belongs to [default: default]
    #[arg(long, value_name = "NAME")]
    fleet: Option<String>,

    /// Where the admin page listens [default: 127.0.0.1:9901]; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", value_parser = bootstrap::address)]
    #[serde(deserialize_with = "bootstrap::some_address")]
    admin: Option<SocketAddr>,

    /// The folder for the last good configuration and addresses.json, for one proxy alone
    /// [default: fleetway-state]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// How many worker threads, 0 for one for each core [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "bootstrap::number")]
    workers: Option<usize>,

    /// How long requests in flight may go on after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<proto::Duration>,

    /// The memory the proxy may use, such as 512MiB; 0 for no limit [default: what its control
    /// groups leave it]
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<ByteSize>,

    /// What is logged: error, warn, info, debug, trace, or by module, such as
    /// info,fleetway_proxy::xds=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// How the proxy runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the configuration comes from.
    pub source: ConfigSource,
    /// The node's fleet.
    pub fleet: Name,
    /// Where the admin page listens.
    pub admin: SocketAddr,
    /// The state folder.
    pub state: PathBuf,
    /// Worker threads; 0 means one for each core.
    pub workers: usize,
    /// How long requests may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// The memory the proxy may use, in bytes; 0 for no limit, `None` for what its control groups
    /// leave it.
    pub memory_limit: Option<u64>,
    /// The log filter.
    pub log: String,
}

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum ConfigSource {
    /// A folder of resource files.
    Folder(PathBuf),
    /// Management servers, and the name this proxy has with them.
    Servers {
        /// Their addresses, as given.
        addresses: String,
        /// The node's id.
        node_id: String,
        /// What TLS to them needs.
        trust: Option<TrustFiles>,
    },
}

/// The files TLS to management servers needs.
#[derive(Debug, Clone)]
pub struct TrustFiles {
    /// Authorities whose certificates are believed.
    pub authorities: PathBuf,
    /// This proxy's certificate chain and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// When one cannot be read, has an unknown key or a bad value, or values do not go together;
    /// names the key and where it stands.
    pub fn load(arguments: &Arguments) -> anyhow::Result<Self> {
        Self::read(arguments.config.as_deref(), &arguments.flags)
    }

    fn read(file: Option<&Path>, flags: &Source) -> anyhow::Result<Self> {
        let all = bootstrap::read(file, ENV_PREFIX, flags)?;
        let trust = trust(all.xds_ca, all.xds_cert, all.xds_key)?;
        let source = match (all.resources, all.xds) {
            (None, None) => bail!(
                "xds: no source of configuration: give --xds http://HOST:PORT or --resources DIR"
            ),
            (Some(_), Some(_)) => {
                bail!("resources: cannot go with xds: choose a server or a folder")
            }
            (Some(folder), None) => ConfigSource::Folder(folder),
            (None, Some(addresses)) => ConfigSource::Servers {
                addresses,
                node_id: all
                    .node_id
                    .filter(|id| !id.is_empty())
                    .context("node_id: is missing: give --node-id, a name of this proxy's own")?,
                trust,
            },
        };
        let workers = all.workers.unwrap_or_default();
        if workers > MAX_WORKERS {
            bail!("workers: must be at most {MAX_WORKERS}; 0 means one for each core");
        }
        let drain_timeout = all.drain_timeout.map(Duration::try_from).transpose()?;
        Ok(Self {
            source,
            fleet: Name::new(all.fleet.as_deref().unwrap_or("default")).context("fleet")?,
            admin: all
                .admin
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9901))),
            state: all.state.unwrap_or_else(|| "fleetway-state".into()),
            workers,
            drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(30)),
            memory_limit: all.memory_limit.map(|size| size.as_u64()),
            log: all.log.unwrap_or_else(|| "info".to_owned()),
        })
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

fn trust(
    authorities: Option<PathBuf>,
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
) -> anyhow::Result<Option<TrustFiles>> {
    let identity = match (chain, key) {
        (None, None) => None,
        (Some(chain), Some(key)) => Some((chain, key)),
        (Some(_), None) => bail!("xds_key: is missing: give --xds-key with --xds-cert"),
        (None, Some(_)) => bail!("xds_cert: is missing: give --xds-cert with --xds-key"),
    };
    match authorities {
        Some(authorities) => Ok(Some(TrustFiles {
            authorities,
            identity,
        })),
        None if identity.is_some() => bail!("xds_ca: is missing: give --xds-ca with --xds-cert"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, flags: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.yaml");
        std::fs::write(&path, file).unwrap();
        let flags = Arguments::try_parse_from([&["fleetway-proxy"], flags].concat()).unwrap();
        Config::read(Some(&path), &flags.flags).map_err(|error| {
            format!("{error:#}").replace(&format!("{}/", dir.path().display()), "")
        })
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "xds: http://10.0.0.1:7081\nnode_id: n\nworkers: 3\ndrain_timeout: 1m30s\n";
        let config = load(file, &["--workers", "2"]).unwrap();
        assert!(matches!(&config.source, ConfigSource::Servers { node_id, .. } if node_id == "n"));
        assert_eq!((config.workers, config.worker_count()), (2, 2));
        assert_eq!(config.drain_timeout, Duration::from_secs(90));
        assert_eq!(config.admin.port(), 9901);
        assert_eq!(config.fleet.as_str(), "default");
        let config = load("fleet: edge\n", &["--resources", "r"]).unwrap();
        assert!(matches!(&config.source, ConfigSource::Folder(folder) if folder.ends_with("r")));
        assert_eq!(config.fleet.as_str(), "edge");
    }

    #[test]
    fn what_is_wrong_is_refused_with_key_and_place() {
        let folder = &["--resources", "r"][..];
        for (file, flags, says) in [
            ("", &[][..], "xds: no source of configuration"),
            (
                "xds: http://10.0.0.1:1\n",
                folder,
                "resources: cannot go with xds",
            ),
            ("xds: http://10.0.0.1:1\n", &[], "node_id: is missing"),
            (
                "xds: https://10.0.0.1:1\nxds_cert: a\n",
                &[],
                "xds_key: is missing",
            ),
            (
                "xds: https://10.0.0.1:1\nxds_cert: a\nxds_key: a\n",
                &[],
                "xds_ca: is missing",
            ),
            ("fleets: a\n", folder, "proxy.yaml: fleets: unknown field"),
            ("fleet: A B\n", folder, "fleet: "),
            ("workers: 2000\n", folder, "workers: must be at most 1024"),
            ("workers: many\n", folder, "proxy.yaml: workers: "),
            ("drain_timeout: 5\n", folder, "proxy.yaml: drain_timeout: "),
            ("admin: 9901\n", folder, "proxy.yaml: admin: "),
            (
                "admin: localhost:9901\n",
                folder,
                "proxy.yaml: admin: \"localhost:9901\" is not IP:PORT",
            ),
        ] {
            let error = load(file, flags).unwrap_err();
            assert!(error.starts_with(says), "{error}\nnot {says}");
        }
    }
}
