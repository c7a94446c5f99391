//! The two clocks of a request: its total time, and the time without a byte.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock;

/// What both directions of a request know of each other.
#[derive(Debug, Clone)]
pub struct Activity(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    last: Cell<Instant>,
    too_large: Cell<bool>,
    received: Cell<u64>,
}

impl Activity {
    fn beginning(now: Instant) -> Self {
        Self(Rc::new(Shared {
            last: Cell::new(now),
            too_large: Cell::new(false),
            received: Cell::new(0),
        }))
    }

    /// A byte moved.
    pub fn touch(&self) {
        self.0.last.set(clock::now());
    }

    /// When the last one did.
    pub fn last(&self) -> Instant {
        self.0.last.get()
    }

    /// So many bytes of the request's body came.
    pub fn receive(&self, bytes: usize) {
        self.0.received.set(self.0.received.get() + bytes as u64);
    }

    /// The body begins anew.
    pub(super) fn receive_anew(&self) {
        self.0.received.set(0);
    }

    /// How many bytes of the request's body have come.
    pub fn received(&self) -> u64 {
        self.0.received.get()
    }

    /// The request's body turned out larger than its route takes.
    pub fn set_too_large(&self) {
        self.0.too_large.set(true);
    }

    /// Whether it did.
    pub fn is_too_large(&self) -> bool {
        self.0.too_large.get()
    }
}

/// Which clock ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// The route's `timeout`.
    Total,
    /// The route's `idle_timeout`.
    Idle,
}

impl Expired {
    /// As the access log has it.
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::Total => "timeout",
            Self::Idle => "idle_timeout",
        }
    }
}

/// Watches both clocks with one timer: it is set to the earlier of the two and, when bytes have
/// moved meanwhile, set again.
#[derive(Debug)]
pub struct Watchdog {
    total: Option<Instant>,
    idle: Option<Duration>,
    activity: Activity,
    sleep: Pin<Box<Sleep>>,
}

/// Where no clock runs: far enough to never come, near enough for the timer.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Watchdog {
    /// Starts the clocks now.
    pub fn new(total: Option<Duration>, idle: Option<Duration>) -> Self {
        Self::since(Instant::now(), total, idle)
    }

    /// Starts them at `now`, which has just been.
    pub fn since(now: Instant, total: Option<Duration>, idle: Option<Duration>) -> Self {
        let activity = Activity::beginning(now);
        let total = total.map(|total| now + total);
        let first = due(total, idle, now).unwrap_or(now + NEVER);
        Self {
            total,
            idle,
            activity,
            sleep: Box::pin(sleep_until(first)),
        }
    }

    /// The handle that resets the idle clock.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Ready once a clock ran out.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.total.is_some_and(|total| total <= now) {
                return Poll::Ready(Expired::Total);
            }
            let last = self.activity.0.last.get();
            if self.idle.is_some_and(|idle| last + idle <= now) {
                return Poll::Ready(Expired::Idle);
            }
            let next = due(self.total, self.idle, last).unwrap_or(now + NEVER);
            self.sleep.as_mut().reset(next);
        }
        Poll::Pending
    }

    /// Drives `future` until it is ready or a clock runs out.
    pub fn guard<'f, F: Future>(
        &'f mut self,
        mut future: Pin<&'f mut F>,
    ) -> impl Future<Output = Result<F::Output, Expired>> + use<'f, F> {
        poll_fn(move |cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(cx).map(Err),
        })
    }
}

/// Whether the clocks of the response that is being sent have run out. A body is polled only while
/// its client reads; who sends it asks here, and ends it when the client does not.
#[derive(Debug, Clone, Default)]
pub struct Overdue(Rc<RefCell<Weak<RefCell<Watchdog>>>>);

/// The time a response has to be sent in; it runs until this is dropped.
#[derive(Debug)]
pub struct Allowed(#[expect(dead_code, reason = "held, not read")] Rc<RefCell<Watchdog>>);

impl Overdue {
    /// From now on it is about the response under `watchdog`, until that is dropped.
    pub(super) fn watch(&self, watchdog: &Rc<RefCell<Watchdog>>) {
        self.0.replace(Rc::downgrade(watchdog));
    }

    /// From now on it is about a response without clocks of its own, which has so long to be sent,
    /// until what is given back is dropped.
    pub fn allow(&self, time: Duration) -> Allowed {
        let watchdog = Rc::new(RefCell::new(Watchdog::new(Some(time), None)));
        self.watch(&watchdog);
        Allowed(watchdog)
    }

    /// Drives `sending` to its end: `None` if a clock of what it sends ran out before.
    pub fn end<F: Future>(self, sending: F) -> Sending<F> {
        Sending {
            sending,
            overdue: self,
        }
    }
}

pin_project! {
    /// What [`Overdue::end`] gives. Written out, since an `async fn` would hold `sending` twice.
    #[derive(Debug)]
    pub struct Sending<F> {
        #[pin]
        sending: F,
        overdue: Overdue,
    }
}

impl<F: Future> Future for Sending<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(sent) = this.sending.poll(cx) {
            return Poll::Ready(Some(sent));
        }
        match this.overdue.0.borrow().upgrade() {
            Some(watchdog) => watchdog.borrow_mut().poll_expired(cx).map(|_| None),
            None => Poll::Pending,
        }
    }
}

fn due(total: Option<Instant>, idle: Option<Duration>, last: Instant) -> Option<Instant> {
    let idle = idle.map(|idle| last + idle);
    total.into_iter().chain(idle).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn expired(watchdog: &mut Watchdog) -> Expired {
        let never = std::pin::pin!(std::future::pending::<()>());
        watchdog.guard(never).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_clock_runs_out_first() {
        let start = Instant::now();
        assert_eq!(
            expired(&mut Watchdog::new(Some(SECOND), Some(5 * SECOND))).await,
            Expired::Total
        );
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(
            expired(&mut Watchdog::new(Some(9 * SECOND), Some(SECOND))).await,
            Expired::Idle
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_ends_with_its_clocks_and_with_no_others() {
        let overdue = Overdue::default();
        let start = Instant::now();
        let gone = Rc::new(RefCell::new(Watchdog::new(Some(SECOND), None)));
        overdue.watch(&gone);
        drop(gone);
        let sent = overdue.clone().end(tokio::time::sleep(5 * SECOND)).await;
        assert_eq!((sent, start.elapsed()), (Some(()), 5 * SECOND));
        let kept = Rc::new(RefCell::new(Watchdog::new(Some(SECOND), None)));
        overdue.watch(&kept);
        assert_eq!(
            overdue.clone().end(std::future::pending::<()>()).await,
            None
        );
        assert_eq!(start.elapsed(), 6 * SECOND);
        let allowed = overdue.allow(3 * SECOND);
        assert_eq!(overdue.end(std::future::pending::<()>()).await, None);
        assert_eq!(start.elapsed(), 9 * SECOND);
        drop(allowed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_moving_byte_resets_the_idle_clock_only() {
        let mut watchdog = Watchdog::new(Some(10 * SECOND), Some(4 * SECOND));
        let start = Instant::now();
        for _ in 0..2 {
            tokio::time::advance(3 * SECOND).await;
            watchdog.activity().touch();
        }
        assert_eq!(expired(&mut watchdog).await, Expired::Total);
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
