//! One downstream connection: accepted → PROXY protocol, if so → TLS, if so → what is spoken on it.

mod detect;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gather;
mod hello;
mod http;
mod http2;
mod lingering;
mod meter;
mod peek;
mod proxy_header;
mod record;
mod streams;
mod tcp;
mod tls;
mod tunnels;
mod wire;

use std::{future::Future, io, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use fleetway_api::ProxyProtocol;
use http::BoxError;
pub use http::Drains;
use record::Record;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wire::Wire;

use crate::{
    admission::{Admitted, Refused},
    http::{Connection, Entrance, Local, View},
    proxy_protocol::Addresses,
    relay::Side as _,
    snapshot::Protocol,
    telemetry::ListenerShard,
};

/// Serves a connection, which does not block, to its end.
///
/// `drain` asks it to end: idle at once, busy after the requests in flight; what is relayed goes
/// on. `abort` ends it as it stands.
pub async fn serve(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    local: Rc<Local>,
    entrance: Rc<Entrance>,
    drain: Drains,
    abort: CancellationToken,
) {
    let mut wire = Wire::new(stream);
    let view = entrance.view(&local);
    let counters = view.listener.counters.clone();
    let shard = counters.shard(local.worker);
    let mut limits = view.listener.limits;
    let speaks_for_others = |settings: &Arc<ProxyProtocol>| settings.trusts(peer.ip());
    let proxy_protocol = view.listener.proxy_protocol.as_ref();
    // From there come the connections of many clients: whose this one is its header says.
    let of_client = match proxy_protocol.is_some_and(speaks_for_others) {
        true => limits.per_source.take(),
        false => None,
    };
    let admitted = if local.overload.sheds_connections() {
        Err(Refused::Overload)
    } else {
        view.listener.admission.admit(peer.ip(), limits)
    };
    drop(view);
    let mut place = match admitted {
        Ok(admitted) => Place {
            admitted,
            of_client,
        },
        Err(refused) => {
            shard.connections_refused.increment();
            tracing::debug!(%peer, listener = %entrance.name(), %refused, "connection refused");
            // A reset: there is no need to keep its state while the client is told in good order.
            wire.reset();
            return;
        }
    };
    shard.connections.increment();
    shard.connections_active.increment();
    let named = entrance.clone();
    let served = opened(wire, peer, local, entrance, drain, shard, &mut place);
    tokio::select! {
        result = async { served?.await } => {
            if let Err(error) = result {
                shard.protocol_errors.increment();
                tracing::debug!(%peer, listener = %named.name(), %error, "connection ended in an error");
            }
        }
        () = abort.cancelled() => {}
    }
    shard.connections_active.decrement();
}

/// A connection's place among those of its listener.
#[derive(Debug)]
struct Place {
    admitted: Admitted,
    /// How many its client may have, which is not known yet.
    of_client: Option<u32>,
}

/// What becomes of a connection. Each way is boxed, so that a connection holds the room for the one it
/// takes, and not for all of them beside each other.
type Serving<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + 'a>>;

/// The first step of a connection: the PROXY protocol, if its listener has that.
fn opened<'a>(
    mut wire: Wire,
    peer: SocketAddr,
    local: Rc<Local>,
    entrance: Rc<Entrance>,
    drain: Drains,
    shard: &'a ListenerShard,
    place: &'a mut Place,
) -> Result<Serving<'a>, BoxError> {
    let Some(settings) = entrance.view(&local).listener.proxy_protocol.clone() else {
        return spoken(wire, peer, None, local, entrance, drain, shard);
    };
    Ok(Box::pin(async move {
        let stream = wire.registered()?;
        let client = match proxy_header::accept(stream, peer, &settings).await {
            Ok(said) => said,
            Err(refused) => {
                shard.proxy_protocol_errors.increment();
                tracing::debug!(%peer, listener = %entrance.name(), %refused, "connection refused");
                return Ok(());
            }
        };
        if let Some(most) = place.of_client {
            let source = client.map_or(peer, |client| client.source).ip();
            if let Err(refused) = place.admitted.count_source(source, most) {
                shard.connections_refused.increment();
                tracing::debug!(%peer, %source, listener = %entrance.name(), %refused, "connection refused");
                wire.reset();
                return Ok(());
            }
        }
        spoken(wire, peer, client, local, entrance, drain, shard)?.await
    }))
}

/// The next: what its listener speaks. `client` is whom it was said to be for.
fn spoken(
    wire: Wire,
    peer: SocketAddr,
    client: Option<Addresses>,
    local: Rc<Local>,
    entrance: Rc<Entrance>,
    drain: Drains,
    shard: &ListenerShard,
) -> Result<Serving<'_>, BoxError> {
    let view = entrance.view(&local);
    let tls = view.listener.tls.clone();
    match &view.listener.protocol {
        Protocol::Http(settings) => {
            let settings = settings.clone();
            let destination = match client {
                Some(client) => Some(client.destination),
                None if view.snapshot.sends_proxy_protocol => wire.local_addr().ok(),
                None => None,
            };
            drop(view);
            let source = client.map_or(peer, |client| client.source);
            let Some(tls) = tls else {
                let connection = Connection::new(local, entrance, source, destination, None);
                let connection = Rc::new(connection);
                return Ok(Box::pin(http::serve(
                    wire, None, connection, settings, drain,
                )));
            };
            let stream = wire.into_registered()?;
            Ok(Box::pin(async move {
                let handshake =
                    tls::handshake(stream, peer, entrance.name(), &tls.terminate, &shard.tls);
                let Some(secured) = Box::pin(handshake).await else {
                    return Ok(());
                };
                let (stream, agreed, facts) = (secured.stream, secured.agreed, secured.facts);
                let connection = Connection::new(local, entrance, source, destination, Some(facts));
                let connection = Rc::new(connection);
                Box::pin(http::serve(stream, agreed, connection, settings, drain)).await
            }))
        }
        Protocol::Tcp(tcp) => {
            let passage = tcp::Passage::choose(&view.snapshot, &local, &tcp.targets, tcp.relay);
            let stream = wire.into_registered()?;
            let client = client_of(&stream, peer, client)?;
            let Some(tls) = tls else {
                let record = Record::begin(&local, &view, client.source, None).speaks("TCP", None);
                drop(view);
                return Ok(Box::pin(async move {
                    tcp::serve(stream, client, passage, &local, shard, record).await;
                    Ok(())
                }));
            };
            Ok(Box::pin(async move {
                let handshake =
                    tls::handshake(stream, peer, entrance.name(), &tls.terminate, &shard.tls);
                let Some(secured) = Box::pin(handshake).await else {
                    return Ok(());
                };
                let record = Record::begin(&local, &view, client.source, Some(&secured.facts))
                    .speaks("TCP", None);
                drop(view);
                let mut stream = secured.stream;
                // Where nothing is ever sent to the client it gets its tickets all the same.
                // A connection that is broken is found to be soon enough.
                let _ = stream.get_mut().0.uncork().await;
                tcp::serve(stream, client, passage, &local, shard, record).await;
                Ok(())
            }))
        }
        Protocol::TlsPassthrough(passthrough) => {
            let within = passthrough.hello_timeout;
            drop(view);
            let stream = wire.into_registered()?;
            let client = client_of(&stream, peer, client)?;
            Ok(Box::pin(async move {
                pass_tls_on(stream, within, client, &local, &entrance, shard).await
            }))
        }
    }
}

/// Passes TLS on as it comes, to whoever takes it for the name the client asks for `within` its time.
async fn pass_tls_on(
    stream: TcpStream,
    within: Duration,
    client: Addresses,
    local: &Rc<Local>,
    entrance: &Entrance,
    shard: &ListenerShard,
) -> Result<(), BoxError> {
    let name = Box::pin(hello::server_name(&stream, within)).await?;
    let name = name.as_deref();
    let view = entrance.view(local);
    let record = Record::begin(local, &view, client.source, None).speaks("TLS", name);
    let Some(passage) = passage_for(name, &view, local) else {
        record.failed("no_cluster");
        shard.no_route.increment();
        let (peer, listener) = (client.source, entrance.name());
        let asked = name.unwrap_or("no name");
        tracing::debug!(%peer, %listener, "no cluster takes TLS for {asked}");
        return Ok(());
    };
    drop(view);
    Box::pin(tcp::serve(stream, client, passage, local, shard, record)).await;
    Ok(())
}

/// Where TLS for `name` goes, if anywhere.
fn passage_for(name: Option<&str>, view: &View, local: &Local) -> Option<tcp::Passage> {
    let Protocol::TlsPassthrough(passthrough) = &view.listener.protocol else {
        return None;
    };
    let targets = passthrough.targets(name)?;
    let relay = passthrough.relay;
    Some(tcp::Passage::choose(&view.snapshot, local, targets, relay))
}

/// Whom a connection is for: as it was said, else as it came.
fn client_of(
    stream: &TcpStream,
    peer: SocketAddr,
    said: Option<Addresses>,
) -> io::Result<Addresses> {
    match said {
        Some(client) => Ok(client),
        None => Ok(Addresses {
            source: peer,
            destination: stream.local_addr()?,
        }),
    }
}
