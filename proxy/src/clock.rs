//! The time, read once in each turn of a task.
//!
//! A request asks for the time at several places, most of them in the same turn: when it came, and
//! when its answer did. A turn is short, so that all of them can have the same answer.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn::None) };
}

/// The turn that a thread is in.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// None that is known.
    None,
    /// One that did not ask for the time yet.
    Begun,
    /// One that did.
    At(Instant),
}

/// The time: as it was when this turn first asked for it. To be compared with the deadline of a
/// timer that has fired it is no good.
#[must_use]
pub fn now() -> Instant {
    TURN.with(|turn| match turn.get() {
        Turn::At(instant) => instant,
        known => {
            let instant = Instant::now();
            if matches!(known, Turn::Begun) {
                turn.set(Turn::At(instant));
            }
            instant
        }
    })
}

pin_project! {
    /// A future each of whose polls is a turn.
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Turns<F> {
        #[pin]
        inner: F,
    }
}

/// Makes each poll of `future` a turn.
pub const fn turns<F: Future>(future: F) -> Turns<F> {
    Turns { inner: future }
}

impl<F: Future> Future for Turns<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        /// Ends the turn, even by a panic.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                TURN.set(Turn::None);
            }
        }
        TURN.set(Turn::Begun);
        let _end = End;
        self.project().inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_next_turn_has_a_time_of_its_own() {
        let second = Duration::from_secs(1);
        turns(async {
            let before = now();
            // Polled anew after that.
            tokio::time::advance(second).await;
            assert_eq!(now() - before, second);
        })
        .await;
    }

    #[tokio::test]
    async fn a_turn_has_one_time() {
        turns(std::future::poll_fn(|_| {
            let first = now();
            while Instant::now() == first {}
            assert_eq!(now(), first);
            Poll::Ready(())
        }))
        .await;
    }

    #[tokio::test]
    async fn without_a_turn_it_is_read_each_time() {
        let before = now();
        let later = std::iter::repeat_with(now).find(|later| *later > before);
        assert!(later.is_some());
    }
}
