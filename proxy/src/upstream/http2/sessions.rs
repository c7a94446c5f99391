//! The connections of one worker that speak HTTP/2, by endpoint: one each, and another where all
//! have as many streams as the upstream takes.

use std::{cell::RefCell, collections::HashMap, io, rc::Rc, sync::Arc};

use fleetway_api::UpstreamProtocol;
use tokio::{sync::watch, time::Instant};

use super::{
    super::{Pool, To, UpstreamError, connect::connect, pool::Key},
    session::{Session, State, Stream, greet},
};
use crate::{
    proxy_protocol::Addresses,
    tls::{HandshakeError, Speak},
    upstream,
};

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
    /// One that was opened and speaks HTTP/1.1, for the first who takes it.
    http1: Option<upstream::Stream>,
}

/// Room for a request.
#[derive(Debug)]
pub(super) enum Room {
    /// On a connection of HTTP/2.
    Stream(Stream),
    /// None: the endpoint chose HTTP/1.1, on this connection unless another has it already.
    Http1(Option<upstream::Stream>),
}

/// How opening a connection ended, once it has.
type Outcome = Option<Result<Spoken, Why>>;

/// What is spoken on a connection that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http2,
    Http1,
}

/// Why there is none, for all who waited for it.
#[derive(Debug, Clone)]
enum Why {
    TimedOut,
    Refused(io::ErrorKind, String),
    Tls(HandshakeError),
    Broken(String),
}

/// A connection that was opened.
enum Opened {
    Http2(Session),
    Http1(upstream::Stream),
}

impl Sessions {
    /// Whether there is one to this endpoint.
    pub(in crate::upstream) fn has(&self, key: Key) -> bool {
        let mut all = self.by_endpoint.borrow_mut();
        let Some(known) = all.get_mut(&key) else {
            return false;
        };
        known.sessions.retain_mut(Session::is_usable);
        !known.sessions.is_empty()
    }

    /// Lets go of what has been idle too long or takes no more streams.
    pub(in crate::upstream) fn sweep(&self) {
        let now = Instant::now();
        self.by_endpoint.borrow_mut().retain(|_, endpoint| {
            endpoint
                .sessions
                .retain_mut(|session| session.is_usable() && !session.is_idle_at(now));
            if endpoint.opening.is_none() {
                // Whoever waited for it has left.
                endpoint.http1 = None;
            }
            !endpoint.sessions.is_empty() || endpoint.opening.is_some()
        });
    }
}

/// Room for a stream, on a connection there is or a new one; not on the one that `refused`.
///
/// # Errors
/// When none can be opened.
pub(super) async fn stream(to: To<'_>, refused: Option<&Rc<State>>) -> Result<Room, UpstreamError> {
    let mut waited = false;
    // Each connection that is opened has room for someone, so the wait ends.
    loop {
        let mut opening = {
            let mut all = to.pool.http2.by_endpoint.borrow_mut();
            let known = all.entry(to.key()).or_default();
            known.sessions.retain_mut(Session::is_usable);
            let others = known.sessions.iter_mut();
            let mut others = others.filter(|one| !refused.is_some_and(|state| one.is(state)));
            if let Some(stream) = others.find_map(Session::reserve) {
                if !waited {
                    to.cluster.counters.shard(to.worker).reused.increment();
                }
                return Ok(Room::Stream(stream));
            }
            known.opening.get_or_insert_with(|| begin(to)).clone()
        };
        waited = true;
        let outcome = opening.wait_for(Option::is_some).await;
        let outcome = outcome.map_or_else(
            |_| Some(Err(Why::Broken("connecting was given up".into()))),
            |outcome| outcome.clone(),
        );
        match outcome {
            Some(Ok(Spoken::Http1)) => {
                let mut all = to.pool.http2.by_endpoint.borrow_mut();
                let known = all.get_mut(&to.key());
                return Ok(Room::Http1(known.and_then(|known| known.http1.take())));
            }
            Some(Err(why)) => return Err(why.of(to)),
            Some(Ok(Spoken::Http2)) | None => {}
        }
    }
}

impl Why {
    fn of(self, to: To<'_>) -> UpstreamError {
        match self {
            Self::TimedOut => UpstreamError::ConnectTimeout(to.endpoint),
            Self::Refused(kind, text) => {
                UpstreamError::Connect(to.endpoint, io::Error::new(kind, text))
            }
            Self::Tls(error) => UpstreamError::Tls(to.endpoint, error),
            Self::Broken(text) => UpstreamError::Broken(to.endpoint, text),
        }
    }
}

/// Begins HTTP/2 on a connection that was opened for it, for all requests to come.
///
/// # Errors
/// When the endpoint does not.
pub(in crate::upstream) async fn adopt(
    to: To<'_>,
    io: upstream::Stream,
) -> Result<(), UpstreamError> {
    let session = greeted(to, io).await.map_err(|why| why.of(to))?;
    to.cluster.counters.shard(to.worker).connections.increment();
    let mut all = to.pool.http2.by_endpoint.borrow_mut();
    all.entry(to.key()).or_default().sessions.push(session);
    Ok(())
}

/// Opens a connection for all who wait for one, in a task of its own: whoever was first may leave.
fn begin(to: To<'_>) -> watch::Receiver<Outcome> {
    let (tell, outcome) = watch::channel(None);
    let (pool, cluster): (Rc<Pool>, _) = (to.pool.clone(), Arc::clone(to.cluster));
    let (worker, endpoint) = (to.worker, to.endpoint);
    tokio::task::spawn_local(async move {
        let to = To {
            worker,
            pool: &pool,
            cluster: &cluster,
            endpoint,
        };
        let opened = open(to).await;
        let outcome = {
            let mut all = pool.http2.by_endpoint.borrow_mut();
            let known = all.entry(to.key()).or_default();
            known.opening = None;
            opened.map(|opened| match opened {
                Opened::Http2(session) => {
                    cluster.counters.shard(worker).connections.increment();
                    known.sessions.push(session);
                    Spoken::Http2
                }
                Opened::Http1(stream) => {
                    known.http1 = Some(stream);
                    Spoken::Http1
                }
            })
        };
        // Those who waited may all have left.
        let _ = tell.send(Some(outcome));
    });
    outcome
}

async fn open(to: To<'_>) -> Result<Opened, Why> {
    // Not asked: a cluster that is told of clients is none that speaks HTTP/2.
    let whoever = || Addresses {
        source: to.endpoint,
        destination: to.endpoint,
    };
    let io = connect(to.cluster, to.worker, to.endpoint, Speak::Http, whoever)
        .await
        .map_err(|error| match error {
            UpstreamError::ConnectTimeout(_) => Why::TimedOut,
            UpstreamError::Connect(_, error) => Why::Refused(error.kind(), error.to_string()),
            UpstreamError::Tls(_, error) => Why::Tls(error),
            error => Why::Broken(error.to_string()),
        })?;
    if to.cluster.protocol == UpstreamProtocol::Auto {
        let http2 = io.agreed_on_http2();
        to.pool.choices.note(to.key(), http2);
        if !http2 {
            return Ok(Opened::Http1(io));
        }
    }
    Ok(Opened::Http2(greeted(to, io).await?))
}

async fn greeted(to: To<'_>, io: upstream::Stream) -> Result<Session, Why> {
    let greeting = greet(io, to.cluster.idle_timeout);
    let greeted = tokio::time::timeout(to.cluster.connect_timeout, greeting).await;
    greeted
        .map_err(|_| Why::TimedOut)?
        .map_err(|error| Why::Broken(error.to_string()))
}
