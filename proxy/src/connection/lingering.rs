//! The end of an HTTP/2 connection: what it was answered last is not lost to a reset.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use fleetway_api::poll_discard;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep},
};

use crate::http1::ServerConfig;

/// How much of what the client still sends is read, in bytes.
const MOST_SCRAP: usize = 8 * 1024 * 1024;

/// The end of a connection, which lasts until the client has ended it too, or has had the time it
/// has over HTTP/1.
///
/// A client that reads slowly goes on telling so (WINDOW_UPDATE, PING) while what it is to read is
/// still on its way. On a connection that is closed each of these is answered by a reset, which
/// takes along what was not read yet (RFC 9112 section 9.6 has the same of HTTP/1).
#[derive(Debug)]
pub(super) struct Ending {
    /// Runs from when the client was told.
    patience: Option<Pin<Box<Sleep>>>,
    left: usize,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            patience: None,
            left: MOST_SCRAP,
        }
    }
}

impl Ending {
    /// Shuts the connection down, and reads on.
    pub(super) fn poll(
        &mut self,
        io: &mut (impl AsyncRead + AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.patience.is_none() {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep(ServerConfig::default().linger_timeout)));
        // Looked at first: a client that never pauses is not waited for.
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        poll_discard(io, cx, &mut self.left).map(Ok)
    }
}
