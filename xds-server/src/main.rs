//! `fleetway-xds`: the management server.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use fleetway_xds::{
    app,
    config::{Config, Source, read_key},
    store::{MasterKey, Rotated, SledStore},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The Fleetway management server: keeps the fleet's configuration and pushes it to the proxies.
///
/// Every setting can be given as a flag, as an environment variable (FLEETWAY_XDS_DATA,
/// FLEETWAY_XDS_REST and so on) or in the configuration file; the first of these that has it counts.
#[derive(Debug, Parser)]
#[command(name = "fleetway-xds", version, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    /// A configuration file, YAML or TOML by its extension
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Source,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What the program does but serve.
#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new master key, to be kept in a file
    GenerateKey,
    /// Put the secrets of a server that is stopped under another master key
    RotateKey {
        /// The folder for the state
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The file with the master key they are under
        #[arg(long, value_name = "FILE")]
        old_key_file: PathBuf,
        /// The file with the master key they are to be under
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetway-xds: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        None => {}
        Some(Command::GenerateKey) => return generate_key(),
        Some(Command::RotateKey {
            data,
            old_key_file,
            new_key_file,
        }) => return rotate_key(data, old_key_file, new_key_file),
    }
    let config = Config::load(arguments.config.as_deref(), &arguments.flags)?;
    let filter: EnvFilter = config
        .log
        .parse()
        .with_context(|| format!("log: \"{}\" is no filter, such as info", config.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config))
}

fn generate_key() -> anyhow::Result<()> {
    let key = MasterKey::generate()?;
    let mut out = std::io::stdout();
    out.write_all(key.to_text().as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .context("cannot write the key")
}

fn rotate_key(data: &Path, old: &Path, new: &Path) -> anyhow::Result<()> {
    let (old, new) = (
        read_key(old).context("--old-key-file")?,
        read_key(new).context("--new-key-file")?,
    );
    let to = new.id();
    let said = match SledStore::rotate(data, &old, &new)? {
        Rotated::Done => format!("the secrets are under master key {to} now"),
        Rotated::Already => format!("the secrets were under master key {to} already"),
        Rotated::Nothing => "there are no secrets: start the server with either key".to_owned(),
    };
    writeln!(std::io::stdout(), "{said}").context("cannot say so")
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Before anything else, so that a signal at any time is a graceful stop.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut running = app::start(&config).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: stopping");
                break;
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT: stopping");
                break;
            }
            // Certificates are followed where they are served.
            Some(()) = hangup.recv() => match &config.tls {
                Some(_) => tracing::info!("SIGHUP: reading the certificates again"),
                None => tracing::info!(
                    "SIGHUP: there are no certificates to read again: for other settings, start the server anew"
                ),
            },
            failed = running.failed() => {
                failed?;
                break;
            }
        }
    }
    running.stop().await?;
    tracing::info!("stopped");
    Ok(())
}
