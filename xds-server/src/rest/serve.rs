//! Connections: how many there are at once, and how long a client may take to ask.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    serve::{Listener, ListenerExt as _},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};

use super::origin::Local;
use crate::tls::{Tls, handshake};

/// What clients are held to, so that none keeps the others out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most connections. More wait in the system's queue until one ends.
    pub(crate) connections: usize,
    /// How long the head of a request may take to come, from the end of the one before.
    pub(crate) head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(30),
        }
    }
}

/// Serves until `stopping`, then finishes the requests in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    stopping: CancellationToken,
) {
    let mut listener = listener.tap_io(|stream| {
        // Without it answers come later, nothing else.
        let _slower = stream.set_nodelay(true);
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head);
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = GracefulShutdown::new();
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (stream, _)) = tokio::select! {
            next = next => next,
            () = stopping.cancelled() => break,
        };
        // A connection that is gone already has no address, and nothing to ask.
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(Local(local))));
        let (http, watcher, tls) = (http.clone(), connections.watcher(), tls.clone());
        tokio::spawn(async move {
            if let Some(stream) = greeted(stream, tls.as_deref(), limits.head).await {
                let connection = http.serve_connection(TokioIo::new(stream), service);
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(%error, "a connection broke off");
                }
            }
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// The connection once its handshake is over, if it is to have one.
async fn greeted(
    stream: TcpStream,
    tls: Option<&Tls>,
    patience: Duration,
) -> Option<Either<TcpStream, Box<TlsStream<TcpStream>>>> {
    let Some(tls) = tls else {
        return Some(Either::Left(stream));
    };
    let tell = |error: &io::Error| tracing::debug!(%error, "a handshake failed");
    let stream = handshake(stream, tls.rest(), patience, tell).await?;
    Some(Either::Right(stream))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::timeout,
    };

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    async fn connect(limits: Limits) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "hello"));
        tokio::spawn(serve(
            listener,
            router,
            limits,
            None,
            CancellationToken::new(),
        ));
        let connect = || TcpStream::connect(address);
        (connect().await.unwrap(), connect().await.unwrap())
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_request_is_cut_off() {
        let limits = Limits {
            head: Duration::from_millis(50),
            ..Limits::default()
        };
        let (mut half, mut silent) = connect(limits).await;
        half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        for stream in [&mut half, &mut silent] {
            let mut rest = Vec::new();
            let ended = timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
            ended.await.unwrap().ok();
        }
    }

    #[tokio::test]
    async fn connections_above_the_limit_wait_for_one_to_end() {
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let (mut first, mut second) = connect(limits).await;
        first.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut first).await.ends_with("hello"));
        second.write_all(REQUEST).await.unwrap();
        let early = timeout(Duration::from_millis(50), answer(&mut second));
        assert!(early.await.is_err());
        drop(first);
        assert!(answer(&mut second).await.ends_with("hello"));
    }
}
