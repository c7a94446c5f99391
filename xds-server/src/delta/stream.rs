//! gRPC around a session: one task for each stream, which holds nobody else up.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use futures_util::future::BoxFuture;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status, Streaming,
    body::Body,
    server::{Grpc, NamedService, StreamingService},
    service::Routes,
    transport::Server,
};

use super::{
    claims::Claims,
    codec::{DeltaCodec, Response},
    incoming::{Peer, incoming},
    repeats::Repeats,
    session::{Exposure, Session},
};
use crate::{
    fleet::{Fleet, Listed, now_ms},
    snapshot::Snapshot,
    tls::Tls,
};

/// The largest request that is read: a client that comes back names every resource it has.
const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// How many responses wait for a client to read. A push is cut into responses only as they go.
const WAITING_RESPONSES: usize = 2;
/// How long a closing stream waits for room to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a client may take to say who it is.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// The most streams on one connection.
const STREAMS_PER_CONNECTION: u32 = 1024;
/// How much a client may send ahead on one stream, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;

const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const STATE_OF_THE_WORLD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a new connection may say nothing at all.
    pub first_bytes: Duration,
    /// How often a silent connection is pinged.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take before the connection counts as dead.
    pub keepalive_timeout: Duration,
    /// How long connections may take to end on shutdown.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// The discovery service, to be served with others. Its streams end when the sender of
/// `snapshots` is dropped.
#[must_use]
pub fn router(snapshots: watch::Receiver<Arc<Snapshot>>, fleet: Arc<Fleet>) -> Routes {
    Routes::new(Discovery::new(snapshots, fleet, CancellationToken::new()))
}

/// Serves the discovery service until `shutdown`, over TLS if `tls` is given; then tells every
/// client to go elsewhere.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    fleet: Arc<Fleet>,
    options: Options,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let closing = CancellationToken::new();
    let discovery = Discovery::new(snapshots, fleet, closing.clone());
    let server = Server::builder()
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_timeout))
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .add_service(discovery)
        .serve_with_incoming_shutdown(
            incoming(listener, options.first_bytes, tls),
            closing.clone().cancelled_owned(),
        );
    let drained = async {
        shutdown.await;
        closing.cancel();
        tokio::time::sleep(options.drain_timeout).await;
    };
    tokio::select! {
        served = server => served,
        // A client that does not read its last response is not waited for.
        () = drained => Ok(()),
    }
}

/// The service, one for all connections.
#[derive(Debug, Clone)]
struct Discovery {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    fleet: Arc<Fleet>,
    denied: Arc<Repeats>,
    closing: CancellationToken,
}

impl Discovery {
    fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        fleet: Arc<Fleet>,
        closing: CancellationToken,
    ) -> Self {
        fleet.follow(&snapshots);
        Self {
            snapshots,
            fleet,
            denied: Arc::default(),
            closing,
        }
    }
}

impl NamedService for Discovery {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for Discovery {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let refused = match request.uri().path() {
            DELTA => {
                let open = Open(self.clone());
                return Box::pin(async move {
                    let mut grpc = Grpc::new(DeltaCodec)
                        .apply_max_message_size_config(Some(MAX_REQUEST), None);
                    Ok(grpc.streaming(open, request).await)
                });
            }
            STATE_OF_THE_WORLD => Status::unimplemented(
                "this server speaks the incremental variant only: call DeltaAggregatedResources (for Envoy: api_type DELTA_GRPC)",
            ),
            path => Status::unimplemented(format!(
                "no method {path}: call {SERVICE}/DeltaAggregatedResources"
            )),
        };
        Box::pin(ready(Ok(refused.into_http())))
    }
}

/// Opens streams.
struct Open(Discovery);

impl StreamingService<DeltaDiscoveryRequest> for Open {
    type Response = Response;
    type ResponseStream = ReceiverStream<Result<Response, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let (outbound, responses) = mpsc::channel(WAITING_RESPONSES);
        let mut snapshots = self.0.snapshots.clone();
        let newest = snapshots.borrow_and_update().clone();
        let number = self.0.fleet.next_stream();
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.unwrap_or_else(|| Peer {
            address: request.remote_addr(),
            beyond_loopback: Exposure::Cleartext,
            claims: None,
        });
        let stream = Stream {
            session: Session::new(number, newest).exposed(peer.exposure()),
            number,
            address: peer.address,
            claims: peer.claims,
            fleet: self.0.fleet.clone(),
            denied: self.0.denied.clone(),
            listed: None,
        };
        let closing = self.0.closing.clone();
        tokio::spawn(stream.run(request.into_inner(), snapshots, outbound, closing));
        ready(Ok(tonic::Response::new(ReceiverStream::new(responses))))
    }
}

/// One open stream.
struct Stream {
    session: Session,
    number: u64,
    address: Option<SocketAddr>,
    /// What the client may be; none for whatever it says.
    claims: Option<Arc<Claims>>,
    fleet: Arc<Fleet>,
    /// Which refusals were logged not long ago.
    denied: Arc<Repeats>,
    /// Its place in the fleet, once the client said who it is.
    listed: Option<Listed>,
}

impl Stream {
    async fn run(
        mut self,
        mut inbound: Streaming<DeltaDiscoveryRequest>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        outbound: mpsc::Sender<Result<Response, Status>>,
        closing: CancellationToken,
    ) {
        let mut silence = pin!(tokio::time::sleep(FIRST_REQUEST));
        let end = loop {
            tokio::select! {
                request = inbound.message() => match request {
                    Ok(Some(request)) => {
                        if let Err(status) = self.on_request(request) {
                            break Some(status);
                        }
                    }
                    Ok(None) => break None,
                    // Of a request that cannot be read the client is told; of a broken
                    // connection there is nobody to tell.
                    Err(status) => break Some(status),
                },
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        break Some(shutting_down());
                    }
                    let newest = snapshots.borrow_and_update().clone();
                    self.session.on_snapshot(newest, now_ms());
                }
                room = outbound.reserve(), if self.session.has_response() => {
                    let Ok(room) = room else { break None };
                    if let Some(response) = self.session.next_response() {
                        room.send(Ok(response));
                    }
                }
                () = outbound.closed() => break None,
                () = &mut silence, if self.listed.is_none() => {
                    break Some(Status::deadline_exceeded("no request came on this stream"));
                }
                () = closing.cancelled() => break Some(shutting_down()),
            }
            if let Some(listed) = &mut self.listed {
                listed.update(self.session.facts());
            }
        };
        drop(self.listed);
        if let Some(status) = end {
            tracing::debug!(stream = self.number, %status, "stream closed");
            // Without room in time the client is not told why.
            let told = tokio::time::timeout(LAST_WORDS, outbound.send(Err(status)));
            told.await.ok();
        }
    }

    fn on_request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        self.session.on_request(request, now_ms())?;
        if self.listed.is_none()
            && let Some(identity) = self.session.identity()
        {
            let address = self.address.map(|a| a.to_string()).unwrap_or_default();
            // Before anything is sent: a response is made only once this has returned.
            if let Some(claims) = &self.claims
                && let Err(denied) = claims.allow(identity)
            {
                self.fleet.counters().denied.fetch_add(1, Relaxed);
                let denied = denied.to_string();
                let peer = self.address.map(|address| address.ip());
                if let Some(untold) = self.denied.tell(peer, &denied, Instant::now()) {
                    tracing::warn!(address, denied, untold, "a stream was refused");
                }
                return Err(Status::permission_denied(denied));
            }
            let listed = self.fleet.open(self.number, identity.clone(), address);
            self.listed =
                Some(listed.map_err(|full| Status::resource_exhausted(full.to_string()))?);
        }
        Ok(())
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down: connect to another, or try again")
}
