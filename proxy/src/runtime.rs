//! Putting configurations in force: bind, swap, reconcile, in this order.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fleetway_api::{FieldError, Id, Kind, Name};
use tokio::sync::{Mutex, watch};

use crate::{
    listener::{Balance, Inherited, Sockets},
    overload::Overload,
    policy::{Programs, Settings},
    snapshot::{Apply, Live, Snapshot, Update},
    worker::{Opening, Worker},
};

/// The workers with the snapshot they serve.
#[derive(Debug)]
pub struct Runtime {
    live: Arc<Live>,
    workers: Vec<Worker>,
    sockets: Mutex<Sockets>,
    overload: Arc<Overload>,
    addresses: watch::Sender<Addresses>,
}

/// How long access logs may take at the end.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The addresses of the listeners, by name.
pub type Addresses = BTreeMap<String, SocketAddr>;

impl Runtime {
    /// Starts `workers` workers with nothing to serve.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(workers: usize) -> io::Result<Self> {
        Self::start_with(workers, Vec::new(), Settings::default())
    }

    /// The same, with sockets that were passed on to this process, and how policies are run.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start_with(
        workers: usize,
        inherited: Vec<Inherited>,
        policies: Settings,
    ) -> io::Result<Self> {
        let overload = Arc::new(Overload::default());
        let mut nothing = Snapshot::default();
        nothing.policies = Programs::new(policies);
        let live = Arc::new(Live::new(nothing));
        let workers = (0..workers.max(1))
            .map(|index| Worker::start(index, live.clone(), overload.clone()))
            .collect::<io::Result<_>>()?;
        let addresses = watch::Sender::new(Addresses::new());
        Ok(Self {
            live,
            workers,
            sockets: Mutex::new(Sockets::new(inherited)),
            overload,
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

    /// How near the process is to its memory.
    #[must_use]
    pub fn overload(&self) -> &Arc<Overload> {
        &self.overload
    }

    /// Duplicates of all listening sockets, by listener.
    ///
    /// # Errors
    /// When a worker is gone, or the process has no descriptors left.
    pub async fn duplicates(&self) -> io::Result<Vec<(Name, std::net::TcpListener)>> {
        let of_workers = self.workers.iter().map(Worker::duplicate);
        let all = futures_util::future::try_join_all(of_workers).await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Closes sockets that were passed on to this process and no listener has asked for.
    pub async fn forget_inherited(&self) {
        self.sockets.lock().await.forget_inherited();
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

    /// Opens the files of access logs again: they may have been moved away.
    pub fn reopen_logs(&self) {
        self.live.load().logs.reopen();
    }

    /// Ends the workers' threads, and writes what is left of their access logs. Connections that are
    /// still open are closed.
    pub fn stop(self) {
        for worker in self.workers {
            worker.join();
        }
        if !self.live.load().logs.finish(LAST_LINES) {
            tracing::error!("not all lines of the access logs could be written");
        }
    }
}

impl Apply for Arc<Runtime> {
    async fn apply(&self, update: Update) -> Result<(), Vec<FieldError>> {
        let mut sockets = self.sockets.lock().await;
        let workers = self.workers.len();
        let changed = update.changed.clone();
        let before = self.live.load();
        // What takes long is done before anything else.
        let policies = before.policies.prepare(&update.resources, &changed).await?;
        let next = Arc::new(before.next(update, policies, now_ms(), workers)?);
        // Bound before the swap: what cannot be bound refuses the whole configuration.
        let plan = sockets.plan(&next, workers)?;
        let removed: Vec<Name> = gone(&next, &changed).cloned().collect();
        let (revision, origin) = (next.revision, next.origin.to_string());
        self.live.swap(next);
        let opens = spread(plan.open, workers);
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
        for name in &removed {
            self.live.load().latencies.forget(name);
        }
        if changed.iter().any(|id| id.kind == Kind::Component) {
            self.live.load().policies.tidy().await;
        }
        *sockets = plan.sockets;
        let addresses: Addresses = sockets
            .addresses()
            .map(|(name, at)| (name.to_string(), at))
            .collect();
        self.addresses.send_if_modified(|known| {
            let changed = *known != addresses;
            if changed {
                tracing::info!("listening: {}", listed(&addresses));
                *known = addresses;
            }
            changed
        });
        tracing::info!(revision, origin, "configuration in force");
        Ok(())
    }
}

/// The addresses as people read them.
fn listed(addresses: &Addresses) -> String {
    let each = addresses.iter().map(|(name, at)| format!("{name} on {at}"));
    let all: Vec<String> = each.collect();
    if all.is_empty() {
        "nowhere".to_owned()
    } else {
        all.join(", ")
    }
}

/// The routes that are not there any more.
fn gone<'c>(next: &Snapshot, changed: &'c [Id]) -> impl Iterator<Item = &'c Name> {
    let routes = changed.iter().filter(|id| id.kind == Kind::Route);
    routes
        .filter(|id| next.resources.get(id).is_none())
        .map(|id| &id.name)
}

/// What each worker is to open: each has some of every listener's sockets.
fn spread(open: Vec<(Name, Vec<std::net::TcpListener>)>, workers: usize) -> Vec<Vec<Opening>> {
    let mut opens: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (name, sockets) in open {
        let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, socket) in sockets.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(index % workers.max(1)) {
                share.push(socket);
            }
        }
        let balance = Balance::shares(workers);
        for ((open, sockets), share) in opens.iter_mut().zip(shares).zip(balance) {
            open.push(Opening {
                name: name.clone(),
                sockets,
                share,
            });
        }
    }
    opens
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
