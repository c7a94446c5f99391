//! The connections of one worker that speak HTTP/2, by endpoint: one each, and another where all
//! have as many streams as the upstream takes.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Connection, SendRequest},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::Instant,
};

use super::super::{BoxError, Pool, UpstreamError, connect::connect, pool::Key};
use crate::{cluster::Cluster, proxy_protocol::Addresses, tls::HandshakeError};

/// How often an upstream with streams open is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How long it has for its answer.
const PONG: Duration = Duration::from_secs(10);
/// How much of a response may come before it is read.
const WINDOW: u32 = 256 * 1024;
/// The same for all responses of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The connections to the endpoints.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Sessions {
    by_endpoint: RefCell<HashMap<Key, Endpoint, foldhash::fast::RandomState>>,
}

#[derive(Debug, Default)]
struct Endpoint {
    sessions: Vec<Session>,
    /// One is being opened; tells how that ended.
    opening: Option<watch::Receiver<Outcome>>,
}

/// How opening a connection ended, once it has.
type Outcome = Option<Result<(), Why>>;

/// Why there is none, for all who waited for it.
#[derive(Debug, Clone)]
enum Why {
    TimedOut,
    Refused(io::ErrorKind, String),
    Tls(HandshakeError),
    Broken(String),
}

/// One connection.
#[derive(Debug)]
struct Session {
    send: SendRequest<Bytes>,
    state: Rc<State>,
    idle_timeout: Duration,
}

/// What a connection's streams and its task share.
#[derive(Debug)]
struct State {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
    closed: Cell<bool>,
}

/// Room for one stream on a connection, which counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) send: SendRequest<Bytes>,
    state: Rc<State>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.state.open.set(self.state.open.get().saturating_sub(1));
        self.state.idle_since.set(Instant::now());
    }
}

impl Session {
    /// Room for a stream, if there is any.
    fn reserve(&mut self) -> Option<Stream> {
        let open = self.state.open.get();
        if open >= self.send.current_max_send_streams() {
            return None;
        }
        self.state.open.set(open + 1);
        Some(Stream {
            send: self.send.clone(),
            state: self.state.clone(),
        })
    }

    /// Whether it takes streams at all: it is open, and was not told to go away.
    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.state.closed.get() && !matches!(self.send.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn is_idle_at(&self, now: Instant) -> bool {
        self.state.open.get() == 0 && self.state.idle_since.get() + self.idle_timeout <= now
    }
}

impl Sessions {
    /// Lets go of what has been idle too long or takes no more streams.
    pub(in crate::upstream) fn sweep(&self) {
        let now = Instant::now();
        self.by_endpoint.borrow_mut().retain(|_, endpoint| {
            endpoint
                .sessions
                .retain_mut(|session| session.is_usable() && !session.is_idle_at(now));
            !endpoint.sessions.is_empty() || endpoint.opening.is_some()
        });
    }
}

/// Room for a stream to `endpoint`, on a connection there is or a new one.
///
/// # Errors
/// When none can be opened.
pub(super) async fn stream(
    pool: &Rc<Pool>,
    worker: usize,
    cluster: &Arc<Cluster>,
    endpoint: SocketAddr,
) -> Result<Stream, UpstreamError> {
    let mut waited = false;
    // Each connection that is opened has room for someone, so the wait ends.
    loop {
        let mut opening = {
            let mut all = pool.http2.by_endpoint.borrow_mut();
            let known = all.entry(key(cluster, endpoint)).or_default();
            known.sessions.retain_mut(Session::is_usable);
            if let Some(stream) = known.sessions.iter_mut().find_map(Session::reserve) {
                if !waited {
                    cluster.counters.shard(worker).reused.increment();
                }
                return Ok(stream);
            }
            known
                .opening
                .get_or_insert_with(|| begin(pool, worker, cluster, endpoint))
                .clone()
        };
        waited = true;
        let outcome = opening.wait_for(Option::is_some).await;
        let outcome = outcome.map_or_else(
            |_| Some(Err(Why::Broken("connecting was given up".into()))),
            |outcome| outcome.clone(),
        );
        if let Some(Err(why)) = outcome {
            return Err(match why {
                Why::TimedOut => UpstreamError::ConnectTimeout(endpoint),
                Why::Refused(kind, text) => {
                    UpstreamError::Connect(endpoint, io::Error::new(kind, text))
                }
                Why::Tls(error) => UpstreamError::Tls(endpoint, error),
                Why::Broken(text) => UpstreamError::Broken(endpoint, text),
            });
        }
    }
}

/// Opens a connection for all who wait for one, in a task of its own: whoever was first may leave.
fn begin(
    pool: &Rc<Pool>,
    worker: usize,
    cluster: &Arc<Cluster>,
    endpoint: SocketAddr,
) -> watch::Receiver<Outcome> {
    let (tell, outcome) = watch::channel(None);
    let (pool, cluster) = (pool.clone(), cluster.clone());
    tokio::task::spawn_local(async move {
        let opened = open(&cluster, worker, endpoint).await;
        let outcome = {
            let mut all = pool.http2.by_endpoint.borrow_mut();
            let known = all.entry(key(&cluster, endpoint)).or_default();
            known.opening = None;
            opened.map(|session| {
                cluster.counters.shard(worker).connections.increment();
                known.sessions.push(session);
            })
        };
        // Those who waited may all have left.
        let _ = tell.send(Some(outcome));
    });
    outcome
}

/// What tells its connections from those made under other settings of TLS.
fn key(cluster: &Cluster, endpoint: SocketAddr) -> Key {
    (endpoint, cluster.tls.as_ref().map(|tls| tls.identity))
}

async fn open(cluster: &Cluster, worker: usize, endpoint: SocketAddr) -> Result<Session, Why> {
    // Not asked: a cluster that is told of clients is none that speaks HTTP/2.
    let whoever = || Addresses {
        source: endpoint,
        destination: endpoint,
    };
    let io = connect(cluster, worker, endpoint, whoever)
        .await
        .map_err(|error| match error {
            UpstreamError::ConnectTimeout(_) => Why::TimedOut,
            UpstreamError::Connect(_, error) => Why::Refused(error.kind(), error.to_string()),
            UpstreamError::Tls(_, error) => Why::Tls(error),
            error => Why::Broken(error.to_string()),
        })?;
    let greeting = greet(io, cluster.idle_timeout);
    let greeted = tokio::time::timeout(cluster.connect_timeout, greeting).await;
    greeted
        .map_err(|_| Why::TimedOut)?
        .map_err(|error| Why::Broken(error.to_string()))
}

/// Begins HTTP/2 on a connection, up to the upstream's settings: they say how many streams it
/// takes.
async fn greet<I>(io: I, idle_timeout: Duration) -> Result<Session, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (send, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(64 * 1024)
        .max_send_buffer_size(64 * 1024)
        .initial_max_send_streams(0)
        .handshake(io)
        .await?;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            let early = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Poll::Ready(ended.map_err(BoxError::from).and(Err(early.into())));
        }
        if connection.max_concurrent_send_streams() == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    let state = Rc::new(State {
        open: Cell::new(0),
        idle_since: Cell::new(Instant::now()),
        closed: Cell::new(false),
    });
    tokio::task::spawn_local(drive(connection, state.clone()));
    Ok(Session {
        send,
        state,
        idle_timeout,
    })
}

/// Runs a connection to its end, which comes early where the upstream does not answer a ping.
async fn drive<I>(mut connection: Connection<I, Bytes>, state: Rc<State>)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let ping = connection.ping_pong();
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an upstream connection ended in an error");
            }
        }
        () = silence(ping, &state) => tracing::debug!("an upstream connection has died"),
    }
    state.closed.set(true);
}

/// Waits until a ping is not answered.
async fn silence(ping: Option<PingPong>, state: &State) {
    let Some(mut ping) = ping else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(PING).await;
        if state.open.get() == 0 {
            continue;
        }
        let answered = tokio::time::timeout(PONG, ping.ping(Ping::opaque())).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
    }
}
