//! One connection that speaks HTTP/2: the room on it, and the task that runs it.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    http2::{Heard, silence},
    upstream::BoxError,
};

/// How often an upstream with streams open is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How long it has for its answer.
const PONG: Duration = Duration::from_secs(10);
/// How much of a response may come before it is read: what a response that nobody reads holds.
const WINDOW: u32 = 256 * 1024;
/// The same for all responses of a connection: the most there is (RFC 9113 section 6.9.1). Were it
/// less, a few clients that do not read would keep the bytes of all others from coming.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    send: SendRequest<Bytes>,
    state: Rc<State>,
    idle_timeout: Duration,
}

/// What a connection's streams and its task share.
#[derive(Debug)]
pub(super) struct State {
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

impl Stream {
    /// Which connection it is on.
    pub(super) fn session(&self) -> Rc<State> {
        self.state.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.state.open.set(self.state.open.get().saturating_sub(1));
        self.state.idle_since.set(Instant::now());
    }
}

impl Session {
    /// Whether it is the one `state` is of.
    pub(super) fn is(&self, state: &Rc<State>) -> bool {
        Rc::ptr_eq(&self.state, state)
    }

    /// Room for a stream, if there is any.
    pub(super) fn reserve(&mut self) -> Option<Stream> {
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
    pub(super) fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.state.closed.get() && !matches!(self.send.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Whether it has had no stream for as long as it may.
    pub(super) fn is_idle_at(&self, now: Instant) -> bool {
        self.state.open.get() == 0 && self.state.idle_since.get() + self.idle_timeout <= now
    }
}

/// Begins HTTP/2 on a connection, up to the upstream's settings: they say how many streams it
/// takes.
pub(super) async fn greet<I>(io: I, idle_timeout: Duration) -> Result<Session, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io = Heard::new(io);
    let heard = io.count();
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
    tokio::task::spawn_local(drive(connection, state.clone(), heard));
    Ok(Session {
        send,
        state,
        idle_timeout,
    })
}

/// Runs a connection to its end, which comes early where the upstream does not answer a ping.
async fn drive<I>(mut connection: Connection<I, Bytes>, state: Rc<State>, heard: Rc<Cell<u64>>)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let ping = connection.ping_pong();
    let silent = async {
        match ping {
            Some(ping) => silence(ping, PING, PONG, || state.open.get() > 0, heard).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an upstream connection ended in an error");
            }
        }
        () = silent => tracing::debug!("an upstream connection has died"),
    }
    state.closed.set(true);
}

#[cfg(test)]
mod tests {
    use h2::client::ResponseFuture;
    use http::Request;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::LocalSet,
        time::sleep,
    };

    use super::*;

    /// A connection whose upstream has said its settings, which are none.
    async fn greeted() -> (Session, DuplexStream) {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let session = greet(near, Duration::from_secs(60)).await.unwrap();
        (session, far)
    }

    /// A request that is never answered.
    fn asking(session: &mut Session) -> (Stream, ResponseFuture) {
        let mut stream = session.reserve().unwrap();
        let request = Request::get("http://x/").body(()).unwrap();
        let (response, _) = stream.send.send_request(request, true).unwrap();
        (stream, response)
    }

    /// Reads to the end, and answers pings if so; how many there were.
    async fn pings(mut far: DuplexStream, answered: bool) -> usize {
        let mut preface = [0; 24];
        far.read_exact(&mut preface).await.unwrap();
        let mut count = 0;
        let mut head = [0; 9];
        while far.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; u16::from_be_bytes([head[1], head[2]]).into()];
            far.read_exact(&mut payload).await.unwrap();
            if head[3] == 6 {
                count += 1;
                head[4] = 1;
                if answered {
                    far.write_all(&[&head[..], &payload].concat())
                        .await
                        .unwrap();
                }
            }
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_does_not_answer_a_ping_loses_its_connection() {
        let story = async {
            let (mut session, far) = greeted().await;
            let _open = asking(&mut session);
            let start = Instant::now();
            assert_eq!(pings(far, false).await, 1);
            assert_eq!(start.elapsed(), PING + PONG);
            assert!(!session.is_usable());
        };
        LocalSet::new().run_until(story).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_keeps_it_and_is_asked_only_while_there_are_requests() {
        let story = async {
            let (mut session, far) = greeted().await;
            let pings = tokio::task::spawn_local(pings(far, true));
            sleep(10 * PING).await;
            let open = asking(&mut session);
            sleep(3 * PING).await;
            assert!(session.is_usable());
            drop(open);
            sleep(10 * PING).await;
            assert!(session.is_usable());
            assert!(session.is_idle_at(Instant::now()));
            drop(session);
            assert_eq!(pings.await.unwrap(), 3);
        };
        LocalSet::new().run_until(story).await;
    }
}
