//! Accepting connections on one worker.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    connection::{self, Drains},
    http::{Entrance, Local},
};

/// How long to wait when the process has no file descriptors or memory left.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts connections and serves each on this worker, until `drain`; `tasks` has those still
/// open.
pub async fn accept(
    socket: TcpListener,
    local: Rc<Local>,
    entrance: Rc<Entrance>,
    drain: Drains,
    abort: CancellationToken,
    tasks: TaskTracker,
) {
    let serve = |stream: TcpStream, peer: SocketAddr| {
        let (local, entrance) = (local.clone(), entrance.clone());
        let (drain, abort) = (drain.clone(), abort.clone());
        tasks.spawn_local(connection::serve(
            stream, peer, local, entrance, drain, abort,
        ));
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = drain.token.cancelled() => break,
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
    let Ok(socket) = socket.into_std() else {
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
