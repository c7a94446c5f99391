//! `fleetway-proxy`: reads its configuration and runs until told to stop.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use fleetway_proxy::{
    app::{self, Signals},
    config::{Arguments, Config},
    handover::Legacy,
};
use mimalloc::MiMalloc;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing_subscriber::EnvFilter;

/// A request takes and gives back some twenty pieces of memory, all on one thread. Without huge
/// pages, which would double what an idle proxy takes.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Before anything is opened that could be taken for it.
    let legacy = Legacy::take();
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
    // The soft limit is one for programs that use select(2); a connection takes two descriptors.
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(config, legacy)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn run(config: Config, legacy: Legacy) -> anyhow::Result<()> {
    // As it is called now: by the time it is needed, another may be in its place, which is meant.
    let program = std::env::current_exe()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let reopen = asked_by(SignalKind::user_defined1())?;
    let upgrade = asked_by(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(
                "SIGHUP: there is nothing to read again: resources are followed as they change, SIGUSR1 opens the access logs again, and SIGUSR2 starts the program anew, with its settings"
            );
        }
    });
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let signals = Signals {
        stop,
        reopen,
        upgrade,
    };
    app::run(config, legacy, program, signals).await
}

/// What a signal asks for. One that comes while another waits is the same.
fn asked_by(kind: SignalKind) -> std::io::Result<mpsc::Receiver<()>> {
    let mut signals = signal(kind)?;
    let (asked, asks) = mpsc::channel(1);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            let _ = asked.try_send(());
        }
    });
    Ok(asks)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("fleetway-proxy: {message}");
    ExitCode::FAILURE
}
