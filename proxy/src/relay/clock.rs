//! The two clocks of a relay: the time without a byte, and the time in all.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Cut;

/// How long a relay may go on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// The longest time without a byte in either direction.
    pub idle: Option<Duration>,
    /// When it ends whatever goes on.
    pub until: Option<Instant>,
}

/// Watches both with one timer, which is set anew only when it rings: a byte costs none.
#[derive(Debug)]
pub(super) struct Clock {
    limits: Limits,
    touched: Instant,
    /// `None` where nothing is limited.
    bell: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(super) fn new(limits: Limits) -> Self {
        let mut clock = Self {
            limits,
            touched: Instant::now(),
            bell: None,
        };
        clock.bell = clock.due().map(|due| Box::pin(sleep_until(due)));
        clock
    }

    /// A byte moved.
    pub(super) fn touch(&mut self) {
        if self.limits.idle.is_some() {
            self.touched = Instant::now();
        }
    }

    fn due(&self) -> Option<Instant> {
        let idle = self.limits.idle.map(|idle| self.touched + idle);
        [idle, self.limits.until].into_iter().flatten().min()
    }

    /// Ready once a time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        loop {
            let (Some(due), Some(bell)) = (self.due(), &mut self.bell) else {
                return Poll::Pending;
            };
            ready!(bell.as_mut().poll(cx));
            if due <= Instant::now() {
                let expired = self.limits.until.is_some_and(|until| until <= due);
                return Poll::Ready(if expired { Cut::Expired } else { Cut::Idle });
            }
            bell.as_mut().reset(due);
        }
    }
}
