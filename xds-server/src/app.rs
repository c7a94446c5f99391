//! The whole server: opens the store, binds, serves, stops.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    commit::{Committer, Trial},
    config::Config,
    delta,
    fleet::Fleet,
    metrics::Metrics,
    rest, retention,
    store::{SledStore, write_atomically},
    tls::{self, Tls},
};

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where REST is served.
    pub rest: SocketAddr,
    /// Where discovery streams are served.
    pub xds: SocketAddr,
    app: Arc<rest::App>,
    tasks: [JoinHandle<anyhow::Result<()>>; 2],
    drain_timeout: Duration,
}

/// What `addresses.json` says.
#[derive(Serialize)]
struct Addresses {
    rest: SocketAddr,
    xds: SocketAddr,
}

/// Starts everything. On return it serves.
///
/// # Errors
/// When the store cannot be opened or an address cannot be bound.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    let tls = config
        .tls
        .as_ref()
        .map(Tls::load)
        .transpose()?
        .map(Arc::new);
    let data = config.data.clone();
    let keep_revisions = config.keep_revisions;
    let master_key = config.master_key.clone();
    let committer = tokio::task::spawn_blocking(move || {
        let store = SledStore::open(&data, master_key.as_ref())?;
        let committer = Committer::open(Arc::new(store), keep_revisions)?;
        anyhow::Ok(committer.examined_by(Arc::new(Trial::default())))
    })
    .await??;
    let rest_socket = bind(config.rest, "rest").await?;
    let xds_socket = bind(config.xds, "xds").await?;
    let (rest_address, xds_address) = (rest_socket.local_addr()?, xds_socket.local_addr()?);
    let fleet = Arc::new(Fleet::default());
    let stopping = CancellationToken::new();
    let app = Arc::new(rest::App {
        committer,
        fleet: fleet.clone(),
        metrics: Metrics::default(),
        ready: AtomicBool::new(false),
        max_body_bytes: config.max_body_bytes,
        max_component_bytes: config.max_component_size,
        uploads: Semaphore::new(rest::UPLOADS),
        stopping: stopping.clone(),
    });
    if let Some(retention) = config.component_retention {
        tokio::spawn(retention::follow(app.clone(), retention, stopping.clone()));
    }
    let rest_task = tokio::spawn({
        let router = rest::router(app.clone());
        let served = rest::serve(
            rest_socket,
            router,
            rest::Limits::default(),
            tls.clone(),
            stopping.clone(),
        );
        async move {
            served.await;
            Ok(())
        }
    });
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().follow(stopping.clone()));
    }
    let secure = tls.is_some();
    let xds_task = tokio::spawn({
        let snapshots = app.committer.subscribe();
        // Streams end at once: there is nothing in flight to wait for as long as for requests.
        let options = delta::Options::default();
        let service = delta::serve(
            xds_socket,
            snapshots,
            fleet,
            options,
            tls,
            stopping.cancelled_owned(),
        );
        async move { service.await.context("serving discovery streams") }
    });
    let addresses = Addresses {
        rest: rest_address,
        xds: xds_address,
    };
    publish(&config.data, &addresses).await?;
    if !rest_address.ip().is_loopback() {
        tracing::warn!(
            address = %rest_address,
            "REST is bound beyond loopback and asks nobody who they are: whoever reaches it can change everything"
        );
    }
    if let Some(warning) = tls::open_to(xds_address, config.tls.as_ref()) {
        tracing::warn!(address = %xds_address, "{warning}");
    }
    let revision = app.committer.snapshot().revision();
    tracing::info!(rest = %rest_address, xds = %xds_address, data = %config.data.display(), revision, tls = secure, "serving");
    app.ready.store(true, Ordering::Release);
    Ok(Running {
        rest: rest_address,
        xds: xds_address,
        app,
        tasks: [rest_task, xds_task],
        drain_timeout: config.drain_timeout,
    })
}

impl Running {
    /// Stops: no new connections, requests in flight are finished up to the configured time. Every
    /// acknowledged write is durable already. The data directory is free once the last request
    /// has ended.
    ///
    /// # Errors
    /// When serving had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self {
            app,
            tasks,
            drain_timeout,
            ..
        } = self;
        app.ready.store(false, Ordering::Release);
        app.stopping.cancel();
        let deadline = tokio::time::Instant::now() + drain_timeout;
        for mut task in tasks {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(ended) => ended??,
                Err(_) => {
                    tracing::warn!("requests were still in flight when the time to stop was over");
                    task.abort();
                }
            }
        }
        Ok(())
    }

    /// Waits until serving fails. Does not return while all is well.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        let [rest, xds] = &mut self.tasks;
        tokio::select! {
            ended = rest => ended?,
            ended = xds => ended?,
        }
    }
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: give --{what} an address that is free")
    })
}

/// Writes `addresses.json`, for whoever started the server on port 0.
async fn publish(data: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    let path = data.join("addresses.json");
    let text = format!("{}\n", serde_json::to_string(addresses)?);
    tokio::task::spawn_blocking(move || {
        write_atomically(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    })
    .await?
}
