//! Accepting connections on one worker.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::Receiver,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::balance::{Accepted, Balance};
use crate::{
    clock,
    connection::{self, Drains},
    http::{Entrance, Local},
};

/// How long to wait when the process has no file descriptors or memory left.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// What the connections of a listener have in common, from when they are accepted. There are new
/// ones once the listener speaks another protocol.
#[derive(Debug)]
pub struct Terms {
    /// What they are served by.
    pub entrance: Rc<Entrance>,
    /// Asks them to end.
    pub drain: Drains,
    /// Ends them.
    pub abort: CancellationToken,
    /// Those still open.
    pub tasks: TaskTracker,
}

impl Terms {
    /// For connections that come in by `entrance`.
    #[must_use]
    pub fn new(entrance: Entrance) -> Self {
        Self {
            entrance: Rc::new(entrance),
            drain: Drains::default(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn serve(&self, local: &Rc<Local>, accepted: Accepted) {
        let Accepted {
            stream,
            peer,
            place,
        } = accepted;
        let (local, entrance) = (local.clone(), self.entrance.clone());
        let (drain, abort) = (self.drain.clone(), self.abort.clone());
        let serving = connection::serve(stream, peer, local, entrance, drain, abort);
        let serving = clock::turns(serving.map(move |()| drop(place)));
        // Boxed: a task is moved several times before it runs and after it has.
        self.tasks.spawn_local(Box::pin(serving));
    }
}

/// Accepts connections and serves each on the terms of the moment, until `closed`: on this worker, or
/// on another that has fewer.
pub async fn accept(
    socket: Rc<AsyncFd<TcpListener>>,
    local: Rc<Local>,
    terms: Rc<RefCell<Rc<Terms>>>,
    balance: Arc<Balance>,
    closed: CancellationToken,
) {
    let serve = |(stream, peer): (TcpStream, SocketAddr)| {
        let place = balance.place(local.worker);
        let accepted = Accepted {
            stream,
            peer,
            place,
        };
        if accepted.place.worker() == local.worker {
            terms.borrow().serve(&local, accepted);
        } else if let Err(mut back) = balance.hand_over(accepted) {
            back.place = back.place.moved_to(local.worker);
            terms.borrow().serve(&local, back);
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.async_io(Interest::READABLE, accept_one) => accepted,
            () = closed.cancelled() => break,
        };
        match accepted {
            Ok(accepted) => serve(accepted),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for now");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    // What the kernel took on before the socket closes was promised to be served.
    let Some(socket) = Rc::into_inner(socket).map(AsyncFd::into_inner) else {
        return;
    };
    while let Ok((stream, peer)) = accept_one(&socket) {
        // Nothing is handed over any more.
        let place = balance.stay(local.worker);
        let accepted = Accepted {
            stream,
            peer,
            place,
        };
        terms.borrow().serve(&local, accepted);
    }
}

/// A connection that is there, which does not block. It is registered with the runtime once it is waited
/// for.
fn accept_one(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    // Of a listener for TCP it is never without an address, nor with one of another family.
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    let peer = peer
        .try_into()
        .map_err(|_| io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), peer))
}

/// Serves what other workers hand over, until `closed` and to the last that was handed over by then.
pub async fn take_over(
    mut handed: Receiver<Accepted>,
    local: Rc<Local>,
    terms: Rc<RefCell<Rc<Terms>>>,
    closed: CancellationToken,
) {
    let mut ending = false;
    loop {
        let next = tokio::select! {
            next = handed.recv() => next,
            () = closed.cancelled(), if !ending => {
                // Whoever comes later keeps what it has.
                handed.close();
                ending = true;
                continue;
            }
        };
        match next {
            Some(handed) => terms.borrow().serve(&local, handed),
            None => return,
        }
    }
}

/// Errors of `accept` that tell of the connection, not of the socket (accept(2)).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
    )
}
