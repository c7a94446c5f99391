//! Putting configurations in force: bind, swap, reconcile, in this order.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fleetway_api::FieldError;
use tokio::sync::{Mutex, watch};

use crate::{
    listener::Sockets,
    snapshot::{Apply, Live, Snapshot, Update},
    worker::Worker,
};

/// The workers with the snapshot they serve.
#[derive(Debug)]
pub struct Runtime {
    live: Arc<Live>,
    workers: Vec<Worker>,
    sockets: Mutex<Sockets>,
    addresses: watch::Sender<Addresses>,
}

/// The addresses of the listeners, by name.
pub type Addresses = BTreeMap<String, SocketAddr>;

impl Runtime {
    /// Starts `workers` workers with nothing to serve.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(workers: usize) -> io::Result<Self> {
        let live = Arc::new(Live::new(Snapshot::default()));
        let workers = (0..workers.max(1))
            .map(|index| Worker::start(index, live.clone()))
            .collect::<io::Result<_>>()?;
        let addresses = watch::Sender::new(Addresses::new());
        Ok(Self {
            live,
            workers,
            sockets: Mutex::default(),
            addresses,
        })
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.live.load()
    }

    /// The addresses of the listeners, as they change.
    #[must_use]
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.addresses.subscribe()
    }

    /// Stops accepting and waits for the requests in flight, at most `within`.
    pub async fn drain(&self, within: Duration) {
        let drains = self.workers.iter().map(|worker| worker.drain(within));
        for drained in futures_util::future::join_all(drains).await {
            if let Err(error) = drained {
                tracing::error!(%error, "cannot drain");
            }
        }
    }

    /// Ends the workers' threads. Connections that are still open are closed.
    pub fn stop(self) {
        for worker in self.workers {
            worker.join();
        }
    }
}

impl Apply for Arc<Runtime> {
    async fn apply(&self, update: Update) -> Result<(), Vec<FieldError>> {
        let mut sockets = self.sockets.lock().await;
        let workers = self.workers.len();
        let next = Arc::new(self.live.load().next(update, now_ms(), workers)?);
        // Bound before the swap: what cannot be bound refuses the whole configuration.
        let plan = sockets.plan(&next, workers)?;
        let (revision, origin) = (next.revision, next.origin.to_string());
        self.live.swap(next);
        let mut opens: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (name, bound) in plan.open {
            for (open, socket) in opens.iter_mut().zip(bound) {
                open.push((name.clone(), socket));
            }
        }
        let told = self
            .workers
            .iter()
            .zip(opens)
            .map(|(worker, open)| worker.reconcile(open, plan.close.clone()));
        for told in futures_util::future::join_all(told).await {
            if let Err(error) = told {
                tracing::error!(%error, "a listener change did not reach a worker");
            }
        }
        *sockets = plan.sockets;
        let addresses: Addresses = sockets
            .addresses()
            .map(|(name, at)| (name.to_string(), at))
            .collect();
        self.addresses.send_if_modified(|known| {
            let changed = *known != addresses;
            if changed {
                tracing::info!(?addresses, "listening");
                *known = addresses;
            }
            changed
        });
        tracing::info!(revision, origin, "configuration in force");
        Ok(())
    }
}

/// Now, in milliseconds since 1970; 0 for a clock before that.
fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
