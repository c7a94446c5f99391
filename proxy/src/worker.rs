//! The workers: one thread and one current-thread runtime each. A connection lives and dies on
//! one worker, so nothing on a request's path is locked.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::TcpListener,
    rc::{Rc, Weak},
    sync::Arc,
    thread,
    time::Duration,
};

use fleetway_api::Name;
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::LocalOptions,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    http::{Entrance, Local},
    http1,
    listener::{Share, Terms, accept, defer, take_over},
    overload::Overload,
    snapshot::Live,
};

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// A listener that is opened, as far as it is one worker's.
#[derive(Debug)]
pub struct Opening {
    /// The listener.
    pub name: Name,
    /// Sockets to accept on.
    pub sockets: Vec<TcpListener>,
    /// Its share in the listener's connections.
    pub share: Share,
}

/// What a worker is told.
#[derive(Debug)]
enum Command {
    /// Sockets to open and listeners to close, after a swap.
    Reconcile {
        open: Vec<Opening>,
        close: Vec<Name>,
        done: oneshot::Sender<()>,
    },
    /// Give the listening sockets to another process, too.
    Duplicate {
        done: oneshot::Sender<io::Result<Vec<(Name, TcpListener)>>>,
    },
    /// Stop accepting, let requests in flight end within the time, then end them.
    Drain {
        within: Duration,
        done: oneshot::Sender<()>,
    },
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::Sender<Command>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The worker's thread is gone: it panicked.
#[derive(Debug, thiserror::Error)]
#[error("a worker has stopped")]
pub struct Stopped;

impl Worker {
    /// Starts worker number `index`.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(index: usize, live: Arc<Live>, overload: Arc<Overload>) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(16);
        let (started, wait) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                // It cannot leave its thread, so that tasks are woken without a lock.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let (runtime, outcome) = match runtime {
                    Ok(runtime) => (Some(runtime), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                // There is somebody who waits for it: see below.
                let _ = started.send(outcome);
                if let Some(runtime) = runtime {
                    runtime.block_on(run(Local::new(index, live, overload), inbox));
                }
            })?;
        wait.recv().map_err(io::Error::other)??;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Opens and closes listeners of the snapshot in force. On return it is done.
    ///
    /// # Errors
    /// When the worker is gone.
    pub async fn reconcile(&self, open: Vec<Opening>, close: Vec<Name>) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.send(Command::Reconcile { open, close, done }).await?;
        wait.await.map_err(|_| Stopped)
    }

    /// Duplicates of its listening sockets, by listener.
    ///
    /// # Errors
    /// When the worker is gone, or the process has no descriptors left.
    pub async fn duplicate(&self) -> io::Result<Vec<(Name, TcpListener)>> {
        let (done, wait) = oneshot::channel();
        let sent = self.send(Command::Duplicate { done }).await;
        sent.map_err(io::Error::other)?;
        wait.await.map_err(io::Error::other)?
    }

    /// Stops accepting and waits until every connection has ended, at most `within`.
    ///
    /// # Errors
    /// When the worker is gone.
    pub async fn drain(&self, within: Duration) -> Result<(), Stopped> {
        let (done, wait) = oneshot::channel();
        self.send(Command::Drain { within, done }).await?;
        wait.await.map_err(|_| Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Waits for the thread, whose commands end here.
    pub fn join(mut self) {
        let thread = self.thread.take();
        drop(self);
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("a worker panicked");
        }
    }
}

/// A listener on this worker.
#[derive(Debug)]
struct Open {
    /// Of the connections that are accepted now.
    terms: Rc<RefCell<Rc<Terms>>>,
    closed: CancellationToken,
    accepting: Vec<JoinHandle<()>>,
    /// Gone with the end of accepting.
    sockets: Vec<Weak<AsyncFd<TcpListener>>>,
    /// Whether they give connections out with the first bytes of their clients.
    deferred: Cell<bool>,
}

async fn run(local: Rc<Local>, mut inbox: mpsc::Receiver<Command>) {
    let mut open: HashMap<Name, Open> = HashMap::new();
    tokio::task::spawn_local(http1::keep_delivering());
    tokio::task::spawn_local(http1::keep_ending_moments());
    let lines = local.clone();
    tokio::task::spawn_local(async move { lines.logs.keep_flushing().await });
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            command = inbox.recv() => command,
            _ = sweep.tick() => {
                local.pool.sweep();
                continue;
            }
        };
        match command {
            Some(Command::Reconcile {
                open: openings,
                close,
                done,
            }) => {
                for name in close {
                    if let Some(listener) = open.remove(&name) {
                        tokio::task::spawn_local(listener.end(local.clone(), None));
                    }
                }
                for listener in open.values() {
                    listener.renew(&local);
                }
                for opening in openings {
                    let name = opening.name.clone();
                    match Open::start(&local, opening) {
                        Ok(listener) => drop(open.insert(name, listener)),
                        Err(error) => tracing::error!(listener = %name, %error, "cannot listen"),
                    }
                }
                // Nobody waiting is no reason to undo it.
                let _ = done.send(());
            }
            Some(Command::Duplicate { done }) => {
                let duplicates = open.iter().flat_map(|(name, listener)| {
                    let sockets = listener.sockets.iter().filter_map(Weak::upgrade);
                    sockets.map(|socket| Ok((name.clone(), socket.get_ref().try_clone()?)))
                });
                let _ = done.send(duplicates.collect());
            }
            Some(Command::Drain { within, done }) => {
                let ends = open
                    .drain()
                    .map(|(_, listener)| listener.end(local.clone(), Some(within)));
                futures_util::future::join_all(ends).await;
                let _ = done.send(());
            }
            None => return,
        }
    }
}

impl Open {
    fn start(local: &Rc<Local>, opening: Opening) -> io::Result<Self> {
        let Opening {
            name,
            sockets,
            share,
        } = opening;
        let entrance = Entrance::new(local, name)
            .ok_or_else(|| io::Error::other("the snapshot has no such listener"))?;
        let clients_begin = entrance.view(local).listener.clients_begin();
        let terms = Rc::new(RefCell::new(Rc::new(Terms::new(entrance))));
        let closed = CancellationToken::new();
        let mut this = Self {
            terms,
            closed,
            accepting: Vec::with_capacity(sockets.len() + 1),
            sockets: Vec::with_capacity(sockets.len()),
            deferred: Cell::new(clients_begin),
        };
        for socket in sockets {
            defer(&socket, clients_begin);
            let socket = Rc::new(listening(socket)?);
            this.sockets.push(Rc::downgrade(&socket));
            let (terms, closed) = (this.terms.clone(), this.closed.clone());
            let balance = share.balance.clone();
            let accepting = accept(socket, local.clone(), terms, balance, closed);
            this.accepting.push(tokio::task::spawn_local(accepting));
        }
        let (terms, closed) = (this.terms.clone(), this.closed.clone());
        let taking_over = take_over(share.handed, local.clone(), terms, closed);
        this.accepting.push(tokio::task::spawn_local(taking_over));
        Ok(this)
    }

    /// Where it speaks another protocol now: new connections do, and those that are open end as if
    /// their listener had been removed. Where clients begin now, or do no longer, so it is accepted.
    fn renew(&self, local: &Rc<Local>) {
        let before = self.terms.borrow().clone();
        if before.entrance.is_superseded(local)
            && let Some(entrance) = before.entrance.renewed(local)
        {
            self.terms.replace(Rc::new(Terms::new(entrance)));
            tokio::task::spawn_local(end(before, local.clone(), None));
        }
        let view = self.terms.borrow().entrance.view(local);
        let clients_begin = view.listener.clients_begin();
        if self.deferred.replace(clients_begin) != clients_begin {
            for socket in self.sockets.iter().filter_map(Weak::upgrade) {
                defer(socket.get_ref(), clients_begin);
            }
        }
    }

    /// Stops accepting and lets its connections end, at most `within` or the listener's own time.
    async fn end(self, local: Rc<Local>, within: Option<Duration>) {
        self.closed.cancel();
        for accepting in self.accepting {
            if accepting.await.is_err() {
                tracing::error!("accepting connections failed");
            }
        }
        let terms = self.terms.borrow().clone();
        end(terms, local, within).await;
    }
}

/// A listening socket that is waited for. The runtime's own would have all registered that it accepts.
fn listening(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a `TcpListener` has one descriptor, its own, which is open until it is dropped; `AsyncFd`
    // drops it after it has taken it off the runtime.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(registered?)
}

/// Lets connections end, at most `within` or their listener's own time, then ends them.
async fn end(terms: Rc<Terms>, local: Rc<Local>, within: Option<Duration>) {
    terms.tasks.close();
    terms.drain.start();
    // As it was last set, not as it was when the listener was opened.
    let own = terms
        .entrance
        .view(&local)
        .listener
        .protocol
        .drain_timeout();
    let within = within.map_or(own, |within| within.min(own));
    if tokio::time::timeout(within, terms.tasks.wait())
        .await
        .is_err()
    {
        terms.abort.cancel();
        terms.tasks.wait().await;
    }
}
