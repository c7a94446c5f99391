//! The proxy as a whole: starts its parts, and ends them in order.

use std::{
    future::Future,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use fleetway_api::rest::FailingPolicy;
use fleetway_policy_runtime::Shared;
use sd_notify::NotifyState;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Admin},
    config::{Config, ConfigSource, TrustFiles},
    handover::{self, HandoverError, Legacy, Predecessor},
    overload, policy,
    runtime::{Addresses, Runtime},
    state::StateFolder,
    xds::{self, Node, Servers, Source, StartError, Status, Trust},
};

/// What a proxy is told from outside.
#[derive(Debug)]
pub struct Signals<S> {
    /// Finish what is in flight and end.
    pub stop: S,
    /// Open the files of access logs again.
    pub reopen: mpsc::Receiver<()>,
    /// Give way to a new process that does the same.
    pub upgrade: mpsc::Receiver<()>,
}

/// How long a new process may take until it serves what this one does.
const SUCCESSION: Duration = Duration::from_secs(60);
/// Where compiled components are kept within the state folder.
const COMPILED: &str = "compiled";
/// How long to wait until a state folder that is not to be had is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often policies are looked at.
const LOOKING: Duration = Duration::from_secs(1);

/// Runs a proxy until it is to stop or another process has taken over, then lets what is in flight
/// finish. `program` is what another process is started from.
///
/// # Errors
/// When it cannot start, or its source of configuration fails for good.
pub async fn run(
    config: Config,
    legacy: Legacy,
    program: PathBuf,
    signals: Signals<impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    let source = source(&config).await?;
    let state = StateFolder::take(&config.state)?;
    let socket = admin_socket(config.admin, legacy.admin).await?;
    let address = socket.local_addr()?;
    let duplicate = socket.as_fd().try_clone_to_owned()?;
    let workers = config.worker_count();
    let policies = policy::Settings {
        cache: Some(config.state.join(COMPILED)),
    };
    let runtime = Arc::new(Runtime::start_with(workers, legacy.sockets, policies)?);
    // Two processes can have one log while one hands over to the other.
    let pid = std::process::id();
    tracing::info!(pid, admin = %address, workers, "started");

    let (draining, ended) = (CancellationToken::new(), CancellationToken::new());
    let status = Status::new();
    let admin = Admin {
        runtime: runtime.clone(),
        draining: draining.clone(),
        status: status.clone(),
    };
    let admin = tokio::spawn(admin::serve(socket, admin, ended.clone()));
    let watched = runtime.overload().clone();
    let limit = config.memory_limit.unwrap_or_else(overload::allowed);
    let watching = tokio::spawn(async move { watched.watch(limit).await });
    let expiring = tokio::spawn(xds::warn_of_useless(status.clone()));
    let failing = tokio::spawn(tell_failing(status.clone(), runtime.clone()));
    let ready = tokio::spawn(tell_ready(
        status.clone(),
        runtime.clone(),
        legacy.predecessor,
    ));

    let serving = Serving {
        source,
        runtime: runtime.clone(),
        status,
        admin: (address, duplicate),
        state: config.state.clone(),
    };
    let mut following = serving.follow(Ok(state));
    let Signals {
        stop,
        mut reopen,
        mut upgrade,
    } = signals;
    let logging = runtime.clone();
    let reopening = tokio::spawn(async move {
        while reopen.recv().await.is_some() {
            tracing::info!("opening the access logs again");
            logging.reopen_logs();
        }
    });
    let mut stop = pin!(stop);
    let outcome = loop {
        tokio::select! {
            () = stop.as_mut() => {
                tracing::info!(pid, "stopping: finishing what is in flight");
                notify(&[NotifyState::Stopping]);
                draining.cancel();
                let drain = runtime.drain(config.drain_timeout);
                break tokio::join!(following.end(), drain).0;
            }
            Some(()) = upgrade.recv() => {
                tracing::info!(pid, program = %program.display(), "a new process is to take over");
                // Of two with one name only one can follow the servers, and have the state folder.
                let outcome = following.end().await;
                if outcome.is_err() {
                    break outcome;
                }
                match serving.hand_over(&program).await {
                    Ok(()) => {
                        tracing::info!(pid, "the new process serves: finishing what is in flight");
                        // Its admin page answers from here on, and this one's no more.
                        ended.cancel();
                        runtime.drain(config.drain_timeout).await;
                        break Ok(());
                    }
                    Err(error) => {
                        tracing::error!(pid, %error, "the new process did not take over, this one goes on with what is in force");
                        following = serving.follow(StateFolder::take(&config.state));
                    }
                }
            }
            () = following.failed() => break following.end().await,
        }
    };
    ended.cancel();
    admin.await?;
    for task in [watching, expiring, failing, ready, reopening] {
        task.abort();
        let _ended = task.await;
    }
    drop(serving);
    let runtime = Arc::into_inner(runtime).context("the workers are still in use")?;
    tokio::task::spawn_blocking(move || runtime.stop()).await?;
    outcome?;
    tracing::info!(pid, "stopped");
    Ok(())
}

/// The admin page's socket: the one that was passed on, or a new one.
async fn admin_socket(
    asked: SocketAddr,
    passed: Option<std::net::TcpListener>,
) -> anyhow::Result<tokio::net::TcpListener> {
    if let Some(socket) = passed
        && socket
            .local_addr()
            .is_ok_and(|at| at == asked || (asked.port() == 0 && at.ip() == asked.ip()))
    {
        socket.set_nonblocking(true)?;
        return Ok(tokio::net::TcpListener::from_std(socket)?);
    }
    tokio::net::TcpListener::bind(asked)
        .await
        .with_context(|| format!("admin: cannot listen on {asked}"))
}

/// Once a configuration is in force: relieves the process before this one, and tells the service
/// manager.
async fn tell_ready(status: Status, runtime: Arc<Runtime>, predecessor: Option<Predecessor>) {
    let mut reports = status.subscribe();
    if reports
        .wait_for(|report| report.served.is_some())
        .await
        .is_err()
    {
        return;
    }
    if let Some(predecessor) = predecessor {
        tracing::info!(
            pid = std::process::id(),
            "serving in place of the process before"
        );
        predecessor.relieve();
        // The other process closes them: nobody else would serve what comes in there.
        runtime.forget_inherited().await;
    }
    notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
}

/// Tells the status, once a second, which policies keep failing.
async fn tell_failing(status: Status, runtime: Arc<Runtime>) {
    let mut tick = tokio::time::interval(LOOKING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let snapshot = runtime.snapshot();
        let failing = snapshot.policies.shared().filter_map(|of| of_failing(of));
        status.failing(failing.take(FailingPolicy::MOST).collect());
    }
}

fn of_failing(shared: &Shared) -> Option<FailingPolicy> {
    let failing = shared.counts.failing()?;
    let mut message = failing.last.to_string();
    message.truncate(message.floor_char_boundary(FailingPolicy::MESSAGE));
    let since = jiff::Timestamp::try_from(failing.since).unwrap_or_default();
    Some(FailingPolicy {
        policy: shared.policy().to_owned(),
        since: format!("{since:.3}"),
        cause: failing.last.cause().to_owned(),
        message,
    })
}

/// Tells the service manager, if there is one that wants to know.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// What the configuration is followed with, and handed over.
struct Serving {
    source: Source,
    runtime: Arc<Runtime>,
    status: Status,
    admin: (SocketAddr, OwnedFd),
    state: PathBuf,
}

impl Serving {
    /// Keeps the newest configuration in force, and the state folder as things are; both once this
    /// process has the folder.
    fn follow(&self, state: anyhow::Result<StateFolder>) -> Following {
        let (configured, left) = (CancellationToken::new(), CancellationToken::new());
        let (had, has) = oneshot::channel();
        let source = xds::run(
            self.source.clone(),
            self.runtime.clone(),
            self.status.clone(),
            configured.clone(),
        );
        let ending = configured.clone();
        let source = async move {
            match ending.run_until_cancelled(has).await {
                Some(Ok(())) => source.await,
                _ => Ok(()),
            }
        };
        let (folder, admin) = (self.state.clone(), self.admin.0);
        let (addresses, leaving) = (self.runtime.addresses(), left.clone());
        let tell = async move {
            let regained = leaving.run_until_cancelled(regain(&folder, state)).await;
            if let Some(state) = regained {
                let _ = had.send(());
                tell_addresses(state, admin, addresses, leaving).await;
            }
        };
        Following {
            source: Some(tokio::spawn(source)),
            outcome: Ok(()),
            tell: tokio::spawn(tell),
            configured,
            left,
        }
    }

    /// Has another process serve what this one does.
    async fn hand_over(&self, program: &Path) -> Result<(), HandoverError> {
        let of_listeners = self.runtime.duplicates().await?;
        let mut sockets: Vec<_> = of_listeners
            .into_iter()
            .map(|(name, socket)| (name.to_string(), socket))
            .collect();
        sockets.push((handover::ADMIN.to_owned(), self.admin.1.try_clone()?.into()));
        handover::hand_over(program, sockets, SUCCESSION).await
    }
}

/// The tasks that follow the configuration.
struct Following {
    source: Option<JoinHandle<Result<(), StartError>>>,
    /// How that ended, once it has.
    outcome: anyhow::Result<()>,
    tell: JoinHandle<()>,
    configured: CancellationToken,
    left: CancellationToken,
}

impl Following {
    /// Returns once the source has ended, which by itself it does only when it cannot be used.
    async fn failed(&mut self) {
        if let Some(source) = &mut self.source {
            self.outcome = match source.await {
                Ok(outcome) => outcome.map_err(Into::into),
                Err(error) => Err(error.into()),
            };
            self.source = None;
        }
    }

    /// Ends following. What was in force is on the disk then, and the state folder free.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.configured.cancel();
        self.failed().await;
        self.left.cancel();
        (&mut self.tell).await?;
        std::mem::replace(&mut self.outcome, Ok(()))
    }
}

/// What the settings say, once the files they name have been found good.
async fn source(config: &Config) -> anyhow::Result<Source> {
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
        } => {
            let trust = trust.clone().map(trusting);
            let servers = Servers::read(addresses, trust.clone()).context("xds")?;
            if let Some(trust) = trust {
                trust.read().await?;
            }
            Source::Servers {
                servers,
                node: Node {
                    id: node_id.as_str().into(),
                    fleet,
                },
                state: config.state.clone(),
            }
        }
    })
}

fn trusting(files: TrustFiles) -> Trust {
    Trust {
        authorities: files.authorities,
        identity: files.identity,
    }
}

/// The state folder, as soon as it is to be had.
async fn regain(folder: &Path, mut taken: anyhow::Result<StateFolder>) -> StateFolder {
    let mut told = false;
    loop {
        match taken {
            Ok(state) => return state,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "no new configuration is taken until the state folder is to be had again"
                    );
                }
            }
        }
        tokio::time::sleep(RETRY).await;
        taken = StateFolder::take(folder);
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
