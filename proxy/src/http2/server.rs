//! A connection of a client.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Builder, Connection, Handshake, SendResponse},
};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Heard, heard::Count, silence};

/// How often a client with streams open is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How long it has for its answer.
const PONG: Duration = Duration::from_secs(20);

/// How much of a request's body may come before it is passed on, and the same for all of a
/// connection: some that an upstream does not read leave room for the others.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * WINDOW;

/// The most bytes of a response that wait in a stream of a client that does not read, beside the
/// piece that came last.
const UNSENT_MAX: usize = 64 * 1024;

/// What clients may do.
#[derive(Debug, Clone, Copy)]
pub struct ServerConfig {
    /// The most streams at a time.
    pub max_concurrent_streams: u32,
    /// The most bytes of a request's fields, each counted with 32 more (RFC 9113 section 6.5.2).
    pub max_header_list_size: u32,
}

/// A connection, and the streams that come on it. All that is sent and received on them is by the
/// polls of this.
pub struct Server<I, B> {
    state: State<I>,
    heard: Count,
    /// Whether a stream is open.
    busy: B,
    draining: bool,
}

enum State<I> {
    Greeting(Handshake<Heard<I>, Bytes>),
    Open {
        connection: Connection<Heard<I>, Bytes>,
        silence: Option<Pin<Box<dyn Future<Output = ()>>>>,
    },
}

/// What came: a request, and where its response goes.
type Came = (Request<RecvStream>, SendResponse<Bytes>);

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The client broke the protocol or the connection.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// The client does not answer.
    #[error("the client did not answer a ping")]
    Silent,
}

impl<I, B> Server<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Fn() -> bool + Clone + 'static,
{
    /// One on which nothing came yet. `busy` tells whether a stream is open.
    pub fn new(io: I, config: &ServerConfig, busy: B) -> Self {
        let io = Heard::new(io);
        let heard = io.count();
        let handshake = Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(config.max_header_list_size)
            .max_send_buffer_size(UNSENT_MAX)
            .enable_connect_protocol()
            .handshake(io);
        Self {
            state: State::Greeting(handshake),
            heard,
            busy,
            draining: false,
        }
    }

    /// From now on the client is to begin no more streams (RFC 9113 section 6.8).
    pub fn drain(&mut self) {
        self.draining = true;
        if let State::Open { connection, .. } = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// Hands each request that comes to `begin`, until the connection has ended. Dropped before, it goes
    /// on where it was when it is called again.
    ///
    /// # Errors
    /// When it ended early.
    pub async fn run(
        &mut self,
        mut begin: impl FnMut(Request<RecvStream>, SendResponse<Bytes>),
    ) -> Result<(), ServerError> {
        poll_fn(|cx| {
            loop {
                match ready!(self.poll_accept(cx)) {
                    Some(Ok((request, answer))) => begin(request, answer),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    }

    /// The next request; `None` once the connection has ended.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Came, ServerError>>> {
        loop {
            match &mut self.state {
                State::Greeting(handshake) => {
                    let mut connection = match ready!(Pin::new(handshake).poll(cx)) {
                        Ok(connection) => connection,
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    };
                    if self.draining {
                        connection.graceful_shutdown();
                    }
                    let (busy, heard) = (self.busy.clone(), self.heard.clone());
                    let silence = connection.ping_pong().map(|ping| {
                        Box::pin(silence(ping, PING, PONG, busy, heard))
                            as Pin<Box<dyn Future<Output = ()>>>
                    });
                    self.state = State::Open {
                        connection,
                        silence,
                    };
                }
                State::Open {
                    connection,
                    silence,
                } => {
                    let came = connection.poll_accept(cx);
                    if came.is_pending()
                        && let Some(silence) = silence
                        && silence.as_mut().poll(cx).is_ready()
                    {
                        return Poll::Ready(Some(Err(ServerError::Silent)));
                    }
                    return came.map_err(ServerError::Http2);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::LocalSet,
        time::Instant,
    };

    use super::*;

    const CONFIG: ServerConfig = ServerConfig {
        max_concurrent_streams: 10,
        max_header_list_size: 1000,
    };

    /// What a client says first: the preface, and settings that are none.
    async fn greet(client: &mut DuplexStream) {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        client.write_all(preface).await.unwrap();
    }

    /// The kinds of the frames up to the end.
    async fn kinds(mut client: DuplexStream) -> Vec<u8> {
        let mut kinds = Vec::new();
        let mut head = [0; 9];
        while client.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; u16::from_be_bytes([head[1], head[2]]).into()];
            client.read_exact(&mut payload).await.unwrap();
            kinds.push(head[3]);
        }
        kinds
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_client_that_does_not_answer_a_ping_loses_its_connection() {
        let story = async {
            let (near, mut client) = duplex(1 << 16);
            greet(&mut client).await;
            let start = Instant::now();
            let mut server = Server::new(near, &CONFIG, || true);
            let ended = server.run(|_, _| {}).await;
            assert!(matches!(ended, Err(ServerError::Silent)), "{ended:?}");
            assert_eq!(start.elapsed(), PING + PONG);
            drop(server);
            assert!(kinds(client).await.contains(&6));
        };
        LocalSet::new().run_until(story).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_still_sending_may_answer_later() {
        let story = async {
            let (near, mut client) = duplex(1 << 16);
            greet(&mut client).await;
            let start = Instant::now();
            let mut server = Server::new(near, &CONFIG, || true);
            let sending = async {
                // An empty SETTINGS frame each second, and no answer to the ping behind them.
                for _ in 0..100 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    client.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
                }
                std::future::pending().await
            };
            tokio::select! {
                ended = server.run(|_, _| {}) => {
                    assert!(matches!(ended, Err(ServerError::Silent)), "{ended:?}");
                }
                () = sending => {}
            }
            assert!(
                start.elapsed() >= Duration::from_secs(100) + PING,
                "{:?}",
                start.elapsed()
            );
        };
        LocalSet::new().run_until(story).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_before_the_client_has_begun_is_told_once_it_has() {
        let (near, mut client) = duplex(1 << 16);
        let mut server = Server::new(near, &CONFIG, || false);
        server.drain();
        greet(&mut client).await;
        let within = Duration::from_secs(1);
        let ended = tokio::time::timeout(within, server.run(|_, _| {})).await;
        // The client does not answer, as it would.
        assert!(ended.is_err(), "{ended:?}");
        drop(server);
        // Settings first, and then that it is to go away.
        let kinds = kinds(client).await;
        assert_eq!(kinds.first(), Some(&4), "{kinds:?}");
        assert!(kinds.contains(&7), "{kinds:?}");
    }
}
