//! Accepting connections on one worker.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::Receiver,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::balance::{Balance, Handed, Place};
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

    fn serve(&self, local: &Rc<Local>, stream: TcpStream, peer: SocketAddr, place: Place) {
        let (local, entrance) = (local.clone(), self.entrance.clone());
        let (drain, abort) = (self.drain.clone(), self.abort.clone());
        let serving = connection::serve(stream, peer, local, entrance, drain, abort);
        let serving = clock::turns(serving.map(move |()| drop(place)));
        // Boxed: a task is moved several times before it runs and after it has.
        self.tasks.spawn_local(Box::pin(serving));
    }

    /// Serves what another worker has accepted.
    fn serve_handed(&self, local: &Rc<Local>, handed: Handed) {
        match TcpStream::from_std(handed.stream) {
            Ok(stream) => self.serve(local, stream, handed.peer, handed.place),
            Err(error) => tracing::warn!(%error, "a connection cannot be taken over"),
        }
    }
}

/// Accepts connections and serves each on the terms of the moment, until `closed`: on this worker, or
/// on another that has fewer.
pub async fn accept(
    socket: Rc<TcpListener>,
    local: Rc<Local>,
    terms: Rc<RefCell<Rc<Terms>>>,
    balance: Arc<Balance>,
    closed: CancellationToken,
) {
    let serve = |stream: TcpStream, peer: SocketAddr| {
        let place = balance.place(local.worker);
        if place.worker() == local.worker {
            terms.borrow().serve(&local, stream, peer, place);
            return;
        }
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be handed over");
                return;
            }
        };
        let handed = Handed {
            stream,
            peer,
            place,
        };
        if let Err(mut back) = balance.hand_over(handed) {
            back.place = back.place.moved_to(local.worker);
            terms.borrow().serve_handed(&local, back);
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closed.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => serve(stream, peer),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for now");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    // What the kernel took on before the socket closes was promised to be served.
    let Some(Ok(socket)) = Rc::into_inner(socket).map(TcpListener::into_std) else {
        return;
    };
    while let Ok((stream, peer)) = socket.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            // Nothing is handed over any more.
            let place = balance.stay(local.worker);
            terms.borrow().serve(&local, stream, peer, place);
        }
    }
}

/// Serves what other workers hand over, until `closed` and to the last that was handed over by then.
pub async fn take_over(
    mut handed: Receiver<Handed>,
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
            Some(handed) => terms.borrow().serve_handed(&local, handed),
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
