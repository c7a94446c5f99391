//! The streams open on an HTTP/2 connection, so that one without any can be closed in time.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// How many streams are open, and since when none is.
#[derive(Debug)]
pub(super) struct Streams {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        }
    }
}

impl Streams {
    /// One more, until what is given back is dropped.
    pub(super) fn open(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(self.clone())
    }

    /// Waits until no stream has been open for `timeout`.
    pub(super) async fn idle(&self, timeout: Duration) {
        loop {
            let now = Instant::now();
            let since = if self.open.get() == 0 {
                self.idle_since.get()
            } else {
                now
            };
            if since + timeout <= now {
                return;
            }
            sleep_until(since + timeout).await;
        }
    }
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Open(Rc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// A response's body whose stream counts as open until it has ended.
#[derive(Debug)]
pub(super) struct Counted<B> {
    pub(super) body: B,
    pub(super) _open: Open,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_no_stream_was_open_for_the_time() {
        let streams = Rc::new(Streams::default());
        let start = Instant::now();
        let open = streams.open();
        let ends = async {
            tokio::time::sleep(5 * SECOND).await;
            drop(open);
        };
        tokio::join!(ends, streams.idle(2 * SECOND));
        assert_eq!(start.elapsed(), 7 * SECOND);
    }
}
