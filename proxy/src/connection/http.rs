//! HTTP/1.1 on a connection by our own codec, HTTP/2 by hyper's connection-level interface.

use std::{convert::Infallible, error::Error, future::Future, pin::pin, rc::Rc, time::Duration};

use fleetway_api::HttpListener;
use http::Request;
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::{
    detect::{Protocol, detect},
    streams::{Counted, Streams},
};
use crate::{
    http::{Connection, Downstream, exchange},
    http1::{self, DrainWatch, ServerConfig},
};

type BoxError = Box<dyn Error + Send + Sync>;

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

/// How often a client with streams open is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);

/// How long a connection may take over its first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// Serves the requests of a connection until either side ends it.
pub(super) async fn serve(
    stream: TcpStream,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: Drains,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let detected = tokio::select! {
        biased;
        detected = tokio::time::timeout(FIRST_BYTES, detect(stream)) => detected,
        // Nothing was begun: there is nothing to finish.
        () = drained(&drain.token) => return Ok(()),
    };
    match detected {
        Ok(Ok(Some((Protocol::Http1, io)))) => {
            http1(io, connection, settings, drain.http1.watch()).await
        }
        Ok(Ok(Some((Protocol::Http2, io)))) => http2(io, connection, settings, drain.token).await,
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

async fn http1<I>(
    io: I,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: DrainWatch,
) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let config = ServerConfig {
        idle_timeout: settings.idle_timeout,
        ..ServerConfig::default()
    };
    let service = |request: Request<http1::RequestBody>| {
        let connection = connection.clone();
        async move { exchange(&connection, request.map(Downstream::Http1)).await }
    };
    Ok(http1::serve(io, &config, drain, service).await?)
}

async fn http2<I>(
    io: I,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: CancellationToken,
) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let streams = Rc::new(Streams::default());
    let counted = streams.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (connection, open) = (connection.clone(), counted.open());
        async move {
            let response = exchange(&connection, request.map(Downstream::Http2)).await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _open: open }))
        }
    });
    let mut serving = pin!(
        hyper::server::conn::http2::Builder::new(OnThisWorker)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .max_concurrent_streams(128)
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        result = serving.as_mut() => return Ok(result?),
        () = drain.cancelled() => {}
        () = streams.idle(settings.idle_timeout) => {}
    }
    serving.as_mut().graceful_shutdown();
    Ok(serving.await?)
}

/// Runs a connection's streams on the worker the connection lives on.
#[derive(Debug, Clone, Copy)]
struct OnThisWorker;

impl<F: Future + 'static> Executor<F> for OnThisWorker
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
