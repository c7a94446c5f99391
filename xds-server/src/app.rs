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
use axum::serve::ListenerExt as _;
use serde::Serialize;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::{
    commit::Committer,
    config::Config,
    fleet::Fleet,
    metrics::Metrics,
    rest,
    store::{SledStore, write_atomically},
};

/// A proxy that does not answer a ping within the time-out is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the discovery streams are given to end once there is nothing more to send.
const STREAMS_END: Duration = Duration::from_secs(1);

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
    let data = config.data.clone();
    let committer = tokio::task::spawn_blocking(move || {
        let store = SledStore::open(&data)?;
        Committer::open(Arc::new(store))
    })
    .await??;
    let rest_socket = bind(config.rest, "rest").await?;
    let xds_socket = bind(config.xds, "xds").await?;
    let (rest_address, xds_address) = (rest_socket.local_addr()?, xds_socket.local_addr()?);
    let fleet = Arc::new(Fleet::default());
    let discovery = tonic::service::Routes::default();
    let stopping = CancellationToken::new();
    let app = Arc::new(rest::App {
        committer,
        fleet,
        metrics: Metrics::default(),
        ready: AtomicBool::new(false),
        max_body_bytes: config.max_body_bytes,
        stopping: stopping.clone(),
    });
    let rest_task = tokio::spawn({
        let socket = rest_socket.tap_io(|stream| {
            // Without it answers come later, nothing else.
            let _slower = stream.set_nodelay(true);
        });
        let service = axum::serve(socket, rest::router(app.clone()))
            .with_graceful_shutdown(stopping.clone().cancelled_owned());
        async move { service.await.context("serving REST") }
    });
    let xds_task = tokio::spawn({
        let incoming = TcpIncoming::from(xds_socket).with_nodelay(Some(true));
        let service = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .add_routes(discovery)
            .serve_with_incoming_shutdown(incoming, stopping.cancelled_owned());
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
    let revision = app.committer.snapshot().revision();
    tracing::info!(rest = %rest_address, xds = %xds_address, data = %config.data.display(), revision, "serving");
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
            tasks: [rest, xds],
            drain_timeout,
            ..
        } = self;
        app.ready.store(false, Ordering::Release);
        app.stopping.cancel();
        end(rest, drain_timeout, "REST requests").await?;
        // With the writer goes the source of new states, on which the streams end.
        drop(app);
        end(xds, STREAMS_END, "discovery streams").await
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

/// Waits until serving has ended, for so long.
async fn end(
    mut task: JoinHandle<anyhow::Result<()>>,
    time: Duration,
    what: &str,
) -> anyhow::Result<()> {
    if let Ok(ended) = tokio::time::timeout(time, &mut task).await {
        return ended?;
    }
    tracing::warn!("{what} were still open when the time to stop was over");
    task.abort();
    Ok(())
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
