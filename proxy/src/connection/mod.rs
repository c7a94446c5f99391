//! One downstream connection: which protocol it speaks, and its requests one after another.

mod detect;
mod http;
mod streams;
mod tls;
mod wire;

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
    let _admitted = match view
        .listener
        .admission
        .admit(peer.ip(), view.listener.limits)
    {
        Ok(admitted) => admitted,
        Err(refused) => {
            shard.connections_refused.increment();
            tracing::debug!(%peer, %refused, "connection refused");
            // A reset: there is no need to keep its state while the client is told in good order.
            let _ = stream.set_zero_linger();
            return;
        }
    };
    shard.connections.increment();
    shard.connections_active.increment();
    let connection = Rc::new(crate::http::Connection {
        local,
        entrance,
        peer,
        https: view.listener.tls.is_some(),
    });
    let (http, tls) = (view.listener.http.clone(), view.listener.tls.clone());
    drop(view);
    let serving = async {
        stream.set_nodelay(true)?;
        match tls {
            None => http::serve(stream, None, connection, &http, drain).await,
            // Boxed, so that a connection in the clear does not hold the room for one.
            Some(tls) => {
                let (stream, agreed) = Box::pin(tls::handshake(stream, &tls.terminate)).await?;
                Box::pin(http::serve(stream, agreed, connection, &http, drain)).await
            }
        }
    };
    tokio::select! {
        result = serving => {
            if let Err(error) = result {
                shard.protocol_errors.increment();
                tracing::debug!(%peer, error = %error, "connection ended in an error");
            }
        }
        () = abort.cancelled() => {}
    }
    shard.connections_active.decrement();
}
