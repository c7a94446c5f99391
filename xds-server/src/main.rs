//! `fleetway-xds`: the management server.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use fleetway_xds::{
    app,
    config::{Config, Source},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The Fleetway management server: keeps the fleet's configuration and pushes it to the proxies.
///
/// Every setting can be given as a flag, as an environment variable (FLEETWAY_XDS_DATA,
/// FLEETWAY_XDS_REST and so on) or in the configuration file; the first of these that has it counts.
#[derive(Debug, Parser)]
#[command(name = "fleetway-xds", version)]
struct Arguments {
    /// A configuration file, YAML or TOML by its extension
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Source,
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

async fn serve(config: Config) -> anyhow::Result<()> {
    // Before anything else, so that a signal at any time is a graceful stop.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut running = app::start(&config).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        failed = running.failed() => failed?,
    }
    running.stop().await?;
    tracing::info!("stopped");
    Ok(())
}
