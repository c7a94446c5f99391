//! The proxy as a whole: starts its parts, and ends them in order.

use std::{fs, future::Future, io, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Admin},
    config::Config,
    runtime::{Addresses, Runtime},
    xds::{self, Node, Servers, Source, Status},
};

/// The file in the state folder that says what is bound.
const ADDRESSES: &str = "addresses.json";

/// Runs a proxy until `stop`, then lets what is in flight finish.
///
/// # Errors
/// When it cannot start, or its source of configuration fails for good.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let state = config.state.clone();
    fs::create_dir_all(&state)
        .with_context(|| format!("state: the folder {} cannot be made", state.display()))?;
    let source = source(&config)?;
    let socket = tokio::net::TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("admin: cannot listen on {}", config.admin))?;
    let admin_address = socket.local_addr()?;
    let runtime = Arc::new(Runtime::start(config.worker_count())?);
    tracing::info!(admin = %admin_address, workers = config.worker_count(), "started");

    let (draining, ended) = (CancellationToken::new(), CancellationToken::new());
    let status = Status::new();
    let admin = Admin {
        runtime: runtime.clone(),
        draining: draining.clone(),
        status: status.clone(),
    };
    let admin = tokio::spawn(admin::serve(socket, admin, ended.clone()));
    let tell = tokio::spawn(tell_addresses(state, admin_address, runtime.addresses()));
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
            runtime.drain(config.drain_timeout.0).await;
            following.await
        }
        outcome = &mut following => outcome,
    };
    tell.abort();
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
    if let Some(folder) = &config.resources {
        return Ok(Source::Folder {
            folder: folder.clone(),
            fleet,
        });
    }
    let servers: Servers = config.xds.parse().context("xds")?;
    let node = Node {
        id: config.node_id.as_str().into(),
        fleet,
    };
    Ok(Source::Servers {
        servers,
        node,
        state: config.state.clone(),
    })
}

#[derive(Serialize)]
struct Told<'a> {
    admin: SocketAddr,
    listeners: &'a Addresses,
}

/// Keeps `addresses.json` as things are.
async fn tell_addresses(
    folder: std::path::PathBuf,
    admin: SocketAddr,
    mut addresses: watch::Receiver<Addresses>,
) {
    loop {
        let listeners = addresses.borrow_and_update().clone();
        let told = Told {
            admin,
            listeners: &listeners,
        };
        if let Err(error) = write_whole(&folder, &told) {
            tracing::warn!(folder = %folder.display(), %error, "cannot write {ADDRESSES}");
        }
        if addresses.changed().await.is_err() {
            return;
        }
    }
}

/// Writes the file so that no reader sees half of it.
fn write_whole(folder: &Path, told: &Told<'_>) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(told)?;
    let beside = folder.join(".addresses.json.new");
    fs::write(&beside, text)?;
    fs::rename(beside, folder.join(ADDRESSES))
}
