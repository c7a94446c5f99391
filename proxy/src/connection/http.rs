//! HTTP on a connection: which version is spoken, and HTTP/1.1.

use std::{error::Error, future::Future, rc::Rc, sync::Arc};

use fleetway_api::HttpListener;
use futures_util::FutureExt as _;
use http::Request;
use tokio_util::sync::CancellationToken;

use super::{
    detect::{Protocol, Rewound, detect},
    http2::http2,
};
use crate::{
    http::{Connection, Downstream, Overdue, ResponseBody, exchange, late, refused},
    http1::{self, ConnectionError, DrainWatch, HeadLimits, ServerConfig, Switched, Transport},
    relay::Side,
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

/// Why a connection is closed whose client does not read.
const UNREAD: &str = "the client did not read the response within the time of its route";

/// Serves the requests of a connection until either side ends it.
///
/// `agreed` is what both sides settled on before, as in TLS; else the first bytes tell.
pub(super) async fn serve<W: Side + 'static>(
    wire: W,
    agreed: Option<Protocol>,
    connection: Rc<Connection>,
    settings: Arc<HttpListener>,
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
            http1(io, connection, &settings, drain.http1.watch()).await
        }
        Ok(Ok(Some((Protocol::Http2, io)))) => {
            Box::pin(http2(io, connection, &settings, drain.token)).await
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

/// Written out, since an `async fn` would hold what it is given beside what is made of it.
fn http1<W: Side + 'static>(
    io: Rewound<W>,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: DrainWatch,
) -> impl Future<Output = Result<(), BoxError>> + use<W> {
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
    let service = {
        let (connection, overdue) = (connection.clone(), overdue.clone());
        move |request: Request<http1::RequestBody>| {
            let overdue = overdue.clone();
            let answered = exchange(connection.clone(), request.map(Downstream::Http1));
            answered.inspect(move |response| response.body().watched_by(&overdue))
        }
    };
    // A response cut short must not look like a whole one.
    let transport = Transport {
        abort: |io: &mut Rewound<W>| io.reset(),
        write_last: Rewound::poll_write_last,
        is_unregistered: Rewound::is_unregistered,
        plain: Rewound::plain,
    };
    let serving = http1::serve_with(io, config, drain, transport, service);
    let ended = overdue.end(serving);
    ended.then(move |served| finish(connection, served))
}

/// How a connection ended: with an error, or what goes on as a tunnel, if anything does.
type Served<W> = Result<Option<(Switched<Rewound<W>>, ResponseBody)>, ConnectionError>;

/// Tells how a connection ended, unless it goes on as a tunnel.
async fn finish<W: Side + 'static>(
    connection: Rc<Connection>,
    served: Option<Served<W>>,
) -> Result<(), BoxError> {
    let switched = served.ok_or(UNREAD)?.inspect_err(|error| match error {
        ConnectionError::Refused(error) => refused(&connection, error),
        ConnectionError::HeadTimeout => late(&connection),
        _ => {}
    })?;
    if let Some((client, ResponseBody::Tunnel(tunnel))) = switched {
        // Boxed, so that a connection that is none does not hold the room for one.
        Box::pin(tunnel.run(&connection, client)).await;
    }
    Ok(())
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
