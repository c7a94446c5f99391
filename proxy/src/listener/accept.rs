//! Accepting connections on one worker.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
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

    fn serve(&self, local: &Rc<Local>, stream: TcpStream, peer: SocketAddr) {
        let (local, entrance) = (local.clone(), self.entrance.clone());
        let (drain, abort) = (self.drain.clone(), self.abort.clone());
        self.tasks.spawn_local(connection::serve(
            stream, peer, local, entrance, drain, abort,
        ));
    }
}

/// Accepts connections and serves each on this worker, on the terms of the moment, until `closed`.
pub async fn accept(
    socket: Rc<TcpListener>,
    local: Rc<Local>,
    terms: Rc<RefCell<Rc<Terms>>>,
    closed: CancellationToken,
) {
    let serve = |stream: TcpStream, peer: SocketAddr| {
        terms.borrow().serve(&local, stream, peer);
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
            serve(stream, peer);
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
