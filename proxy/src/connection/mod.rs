//! One downstream connection: which protocol it speaks, and its requests one after another.

mod detect;
mod http;
mod streams;

use std::{net::SocketAddr, rc::Rc};

pub use http::Drains;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::http::{Entrance, Local};

/// Serves a connection to its end.
///
/// `drain` asks it to end: idle at once, busy after the requests in flight. `abort` ends it as it
/// stands.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    local: Rc<Local>,
    entrance: Rc<Entrance>,
    drain: Drains,
    abort: CancellationToken,
) {
    let view = entrance.view(&local);
    let shard = view.listener.counters.clone();
    let shard = shard.shard(local.worker);
    shard.connections.increment();
    shard.connections_active.increment();
    let connection = Rc::new(crate::http::Connection {
        local,
        entrance,
        peer,
    });
    let http = view.listener.http.clone();
    drop(view);
    tokio::select! {
        result = http::serve(stream, connection, &http, drain) => {
            if let Err(error) = result {
                shard.protocol_errors.increment();
                tracing::debug!(%peer, error = %error, "connection ended in an error");
            }
        }
        () = abort.cancelled() => {}
    }
    shard.connections_active.decrement();
}
