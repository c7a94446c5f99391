//! HTTP/1.1 on a connection by our own codec, HTTP/2 by hyper's connection-level interface.

use std::{
    cell::OnceCell, convert::Infallible, error::Error, future::Future, pin::pin, rc::Rc,
    time::Duration,
};

use fleetway_api::HttpListener;
use futures_util::FutureExt as _;
use http::{Request, StatusCode, header};
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::{
    detect::{Protocol, Rewound, detect},
    gather::Gathered,
    meter::{Bounds, Metered},
    streams::{Counted, Streams},
    tunnels::{self, Line},
};
use crate::{
    clock,
    http::{Allowed, Connection, Downstream, Overdue, ResponseBody, exchange, late, refused},
    http1::{self, ConnectionError, DrainWatch, HeadLimits, ServerConfig, Transport},
    relay::Side,
    telemetry::Flood,
};

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// How the connections of a listener are told to end: idle at once, busy after what is in flight.
#[derive(Debug, Clone, Default)]
pub struct Drains {
    /// For whatever waits on its own.
    pub token: CancellationToken,
    /// For HTTP/1 connections.
    pub http1: http1::Drain,
}

impl Drains {
    /// Tells them.
    pub fn start(&self) {
        self.token.cancel();
        self.http1.start();
    }
}

/// The most bytes of a response that wait in a stream of a client that does not read.
const UNSENT_MAX: usize = 64 * 1024;

/// How much of a request's body may come before it is passed on, and the same for all of a
/// connection: some that an upstream does not read leave room for the others.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * WINDOW;

/// How often a client with streams open is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);

/// Why a connection is closed whose client does not read.
const UNREAD: &str = "the client did not read the response within the time of its route";

/// Serves the requests of a connection until either side ends it.
///
/// `agreed` is what both sides settled on before, as in TLS; else the first bytes tell.
pub(super) async fn serve<W: Side + 'static>(
    wire: W,
    agreed: Option<Protocol>,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: Drains,
) -> Result<(), BoxError> {
    let found = async {
        match agreed {
            Some(protocol) => Ok(Some((protocol, Rewound::fresh(wire)))),
            None => detect(wire).await,
        }
    };
    let detected = tokio::select! {
        biased;
        detected = tokio::time::timeout(settings.idle_timeout, found) => detected,
        // Nothing was begun: there is nothing to finish.
        () = drained(&drain.token) => return Ok(()),
    };
    match detected {
        Ok(Ok(Some((Protocol::Http1, io)))) => {
            http1(io, connection, settings, drain.http1.watch()).await
        }
        Ok(Ok(Some((Protocol::Http2, io)))) => {
            Box::pin(http2(io, connection, settings, drain.token)).await
        }
        // A client that says nothing, or nothing in time, has made no mistake worth telling.
        Ok(Ok(None)) | Err(_) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
    }
}

/// Waits until the drain has begun and a first request sent before that must have arrived.
async fn drained(drain: &CancellationToken) {
    drain.cancelled().await;
    tokio::time::sleep(ServerConfig::default().drain_grace).await;
}

async fn http1<W: Side + 'static>(
    io: Rewound<W>,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: DrainWatch,
) -> Result<(), BoxError> {
    let limits = &settings.limits;
    let config = ServerConfig {
        limits: HeadLimits {
            max_bytes: size(limits.header_bytes),
            max_fields: size(limits.headers),
            max_uri: size(limits.uri_bytes),
        },
        head_timeout: limits.header_timeout,
        idle_timeout: settings.idle_timeout,
        max_requests: limits.requests_per_connection,
        close_notify: connection.tls.is_some(),
        ..ServerConfig::default()
    };
    let overdue = Overdue::default();
    let service = |request: Request<http1::RequestBody>| {
        let overdue = overdue.clone();
        let answered = exchange(connection.clone(), request.map(Downstream::Http1));
        answered.inspect(move |response| response.body().watched_by(&overdue))
    };
    // A response cut short must not look like a whole one.
    let transport = Transport {
        abort: |io: &mut Rewound<W>| io.reset(),
        write_last: Rewound::poll_write_last,
        is_unregistered: Rewound::is_unregistered,
        plain: Rewound::plain,
    };
    let serving = http1::serve_with(io, &config, drain, transport, service);
    let switched = match overdue.clone().end(serving).await {
        Some(served) => served.inspect_err(|error| match error {
            ConnectionError::Refused(error) => refused(&connection, error),
            ConnectionError::HeadTimeout => late(&connection),
            _ => {}
        })?,
        None => return Err(UNREAD.into()),
    };
    if let Some((client, ResponseBody::Tunnel(tunnel))) = switched {
        // Boxed, so that a connection that is none does not hold the room for one.
        Box::pin(tunnel.run(&connection, client)).await;
    }
    Ok(())
}

async fn http2<W: Side + 'static>(
    io: Rewound<W>,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: CancellationToken,
) -> Result<(), BoxError> {
    let limits = &settings.limits;
    let bounds = Bounds {
        header_bytes: limits.header_bytes,
        header_timeout: limits.header_timeout,
    };
    let (io, verdict) = Metered::new(io, &bounds);
    let local = connection.clone();
    let streams = Rc::new(Streams::new(limits.requests_per_connection));
    let counted = streams.clone();
    let io = Gathered::new(io, streams.clone());
    let unread = settings.idle_timeout;
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (connection, open) = (connection.clone(), counted.open());
        let tunnel = tunnels::asked(&mut request, &connection).map(|asked| (asked, open.again()));
        let answered = exchange(connection.clone(), request.map(Downstream::Http2));
        // Boxed: the library and the runtime move it from hand to hand.
        Box::pin(answered.map(move |response| {
            // Set wherever hyper runs what we gave it.
            let allowed = STREAM.try_with(|stream| watch(&stream.overdue, response.body(), unread));
            let mut response = match tunnel {
                None => response,
                Some((asked, open)) => {
                    let line = STREAM.try_with(|stream| stream.line());
                    asked.settle(response, connection, open, line.unwrap_or_default())
                }
            };
            if response.status() == StatusCode::NO_CONTENT {
                // RFC 9110 section 8.6. The codec of HTTP/1 sees to it by itself.
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            Ok::<_, Infallible>(response.map(|body| Counted {
                body,
                _open: open,
                _allowed: allowed.ok().flatten(),
            }))
        }))
    });
    let mut serving = pin!(
        hyper::server::conn::http2::Builder::new(OnThisWorker)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .max_concurrent_streams(limits.concurrent_streams)
            .max_header_list_size(limits.header_bytes)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_connect_protocol()
            .max_send_buf_size(UNSENT_MAX)
            .serve_connection(TokioIo::new(io), service)
    );
    let served = tokio::select! {
        result = serving.as_mut() => result,
        () = async {
            tokio::select! {
                () = drain.cancelled() => {}
                () = streams.idle(settings.idle_timeout) => {}
                () = streams.spent() => {}
            }
        } => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                result = serving => result,
                // A client that never began, or does not end, has that time once more.
                () = async {
                    tokio::time::sleep(settings.idle_timeout).await;
                    streams.idle(settings.idle_timeout).await;
                } => Ok(()),
            }
        }
    };
    served.map_err(|error| {
        let Some(flood) = verdict.get().or_else(|| found_by_library(&error)) else {
            return error.into();
        };
        let view = local.entrance.view(&local.local);
        let shard = view.listener.counters.shard(local.local.worker);
        shard.http2_floods.ended(flood);
        flood.into()
    })
}

/// Has the clocks of a response heeded. One that was made here has none: it gets `unread`.
fn watch(overdue: &Overdue, body: &ResponseBody, unread: Duration) -> Option<Allowed> {
    match body {
        ResponseBody::Forwarded(_) => {
            body.watched_by(overdue);
            None
        }
        made => made.is_made().then(|| overdue.allow(unread)),
    }
}

/// Whether the library told the client to calm down (RFC 9113 section 10.5).
fn found_by_library(error: &hyper::Error) -> Option<Flood> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    let calm = error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    calm.then_some(Flood::Requests)
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

tokio::task_local! {
    /// What belongs to the stream whose task this is.
    static STREAM: Rc<OfStream>;
}

/// What belongs to a stream.
#[derive(Debug, Default)]
struct OfStream {
    /// Its clocks.
    overdue: Overdue,
    /// What sends, once it is a tunnel.
    line: OnceCell<Line>,
}

impl OfStream {
    fn line(&self) -> Line {
        self.line.get_or_init(Line::default).clone()
    }
}

/// Runs a connection's streams on the worker the connection lives on. One that the client does
/// not read in time is dropped, which resets it.
#[derive(Debug, Clone, Copy)]
struct OnThisWorker;

impl<F: Future + 'static> Executor<F> for OnThisWorker
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        if let Ok(line) = STREAM.try_with(|stream| stream.line()) {
            // What a stream starts is what sends in its tunnel.
            tokio::task::spawn_local(async move { line.run(future).await });
            return;
        }
        let of_stream = Rc::<OfStream>::default();
        let overdue = of_stream.overdue.clone();
        let stream = STREAM.scope(of_stream, future);
        tokio::task::spawn_local(clock::turns(overdue.end(stream)));
    }
}
