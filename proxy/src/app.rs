//! The proxy as a whole: starts its parts, and ends them in order.

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Admin},
    config::{Config, ConfigSource, TrustFiles},
    runtime::{Addresses, Runtime},
    state::StateFolder,
    xds::{self, Node, Servers, Source, Status, Trust},
};

/// Runs a proxy until `stop`, then lets what is in flight finish.
///
/// # Errors
/// When it cannot start, or its source of configuration fails for good.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let state = StateFolder::take(&config.state)?;
    let source = source(&config)?;
    let socket = tokio::net::TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("admin: cannot listen on {}", config.admin))?;
    let admin_address = socket.local_addr()?;
    let runtime = Arc::new(Runtime::start(config.worker_count())?);
    tracing::info!(admin = %admin_address, workers = config.worker_count(), "started");

    let (draining, ended) = (CancellationToken::new(), CancellationToken::new());
    let left = CancellationToken::new();
    let status = Status::new();
    let admin = Admin {
        runtime: runtime.clone(),
        draining: draining.clone(),
        status: status.clone(),
    };
    let admin = tokio::spawn(admin::serve(socket, admin, ended.clone()));
    let tell = tokio::spawn(tell_addresses(
        state,
        admin_address,
        runtime.addresses(),
        left.clone(),
    ));
    let configured = CancellationToken::new();
    let mut following = tokio::spawn(xds::run(
        source,
        runtime.clone(),
        status,
        configured.clone(),
    ));

    let outcome = tokio::select! {
        () = stop => {
            tracing::info!("stopping: finishing what is in flight");
            draining.cancel();
            configured.cancel();
            let last_written = async {
                let outcome = (&mut following).await;
                left.cancel();
                outcome
            };
            let (outcome, ()) = tokio::join!(last_written, runtime.drain(config.drain_timeout));
            outcome
        }
        outcome = &mut following => outcome,
    };
    left.cancel();
    tell.await?;
    ended.cancel();
    admin.await?;
    let runtime = Arc::into_inner(runtime).context("the workers are still in use")?;
    tokio::task::spawn_blocking(move || runtime.stop()).await?;
    outcome??;
    tracing::info!("stopped");
    Ok(())
}

fn source(config: &Config) -> anyhow::Result<Source> {
    let fleet: Arc<str> = config.fleet.as_str().into();
    Ok(match &config.source {
        ConfigSource::Folder(folder) => Source::Folder {
            folder: folder.clone(),
            fleet,
        },
        ConfigSource::Servers {
            addresses,
            node_id,
            trust,
        } => Source::Servers {
            servers: Servers::read(addresses, trust.clone().map(trusting)).context("xds")?,
            node: Node {
                id: node_id.as_str().into(),
                fleet,
            },
            state: config.state.clone(),
        },
    })
}

fn trusting(files: TrustFiles) -> Trust {
    Trust {
        authorities: files.authorities,
        identity: files.identity,
    }
}

/// Keeps `addresses.json` as things are until the state folder is to be `left`.
async fn tell_addresses(
    state: StateFolder,
    admin: SocketAddr,
    mut addresses: watch::Receiver<Addresses>,
    left: CancellationToken,
) {
    loop {
        let listeners = addresses.borrow_and_update().clone();
        if let Err(error) = state.tell(admin, &listeners) {
            tracing::warn!(%error, "cannot write addresses.json to the state folder");
        }
        tokio::select! {
            biased;
            () = left.cancelled() => break,
            changed = addresses.changed() => {
                if changed.is_err() {
                    break;
                }
            }
        }
    }
    if let Err(error) = state.release() {
        tracing::warn!(%error, "cannot unlock the state folder");
    }
}
