//! The streams open on an HTTP/2 connection, so that one without any can be closed in time.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::clock;

/// How many streams are open, and since when none is.
#[derive(Debug)]
pub(super) struct Streams {
    open: Cell<usize>,
    /// The most at a time since the burst began.
    most: Cell<usize>,
    idle_since: Cell<Instant>,
    /// How many more there may be, and who is told when there are none.
    left: Cell<u32>,
    spent: Notify,
}

impl Streams {
    /// None yet, and at most so many in all; `None` for no limit.
    pub(super) fn new(most: Option<u32>) -> Self {
        Self {
            open: Cell::new(0),
            most: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            left: Cell::new(most.unwrap_or(u32::MAX)),
            spent: Notify::new(),
        }
    }

    /// One more, until what is given back is dropped.
    pub(super) fn open(self: &Rc<Self>) -> Open {
        let open = self.open.get() + 1;
        self.open.set(open);
        self.most.set(self.most.get().max(open));
        // Without a limit it is never spent: there are fewer stream numbers (RFC 9113 section 5.1.1).
        match self.left.get() {
            0 | 1 => self.spent.notify_one(),
            left => self.left.set(left - 1),
        }
        Open(self.clone())
    }

    /// Whether one is open.
    pub(super) fn are_any(&self) -> bool {
        self.open.get() > 0
    }

    /// Whether more than one was open at a time since the burst began.
    pub(super) fn are_several(&self) -> bool {
        self.most.get() > 1
    }

    /// A burst begins now.
    pub(super) fn begin_burst(&self) {
        self.most.set(self.open.get());
    }

    /// Waits until as many have been opened as there may be.
    pub(super) async fn spent(&self) {
        self.spent.notified().await;
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
        self.0.idle_since.set(clock::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_connection_has_its_streams_and_no_more() {
        let streams = Rc::new(Streams::new(Some(2)));
        let _one = streams.open();
        let mut spent = std::pin::pin!(streams.spent());
        assert!(futures_util::poll!(spent.as_mut()).is_pending());
        let _two = streams.open();
        assert!(futures_util::poll!(spent).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_no_stream_was_open_for_the_time() {
        let streams = Rc::new(Streams::new(None));
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
