//! `fleetway-proxy`: reads its configuration and runs until told to stop.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use fleetway_proxy::{
    app,
    config::{Arguments, Config},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = match Config::load(&Arguments::parse()) {
        Ok(config) => config,
        Err(error) => return fail(&format!("{error:#}")),
    };
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("log: \"{}\" is no filter: {error}", config.log)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(config)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    app::run(config, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

fn fail(message: &str) -> ExitCode {
    eprintln!("fleetway-proxy: {message}");
    ExitCode::FAILURE
}
