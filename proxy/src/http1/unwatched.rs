//! Clients that are not watched for a moment, while their last request is being answered.
//!
//! To see a client leave its connection has to be registered with the runtime, if nothing of it was waited
//! for before. Most answers are there sooner than that would have paid for itself, so the watching begins
//! only with those that take long. There is one timer for all the clients of a worker.
//!
//! Where nobody ends the moments (see [`keep_ending_moments`]), all are watched at once.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    mem,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A client is not watched for this at least, and for twice as long at most.
const MOMENT: Duration = Duration::from_millis(10);
/// With so many that are not, the others are.
const MOST: usize = 4096;

thread_local! {
    static UNWATCHED: Unwatched = const { Unwatched::new() };
}

/// Those of one thread.
struct Unwatched {
    /// How many moments have ended.
    ended: Cell<u64>,
    /// To be woken when this one does.
    tasks: RefCell<Vec<Waker>>,
    /// The task that ends it, if there is one.
    keeper: RefCell<Option<Waker>>,
}

impl Unwatched {
    const fn new() -> Self {
        Self {
            ended: Cell::new(0),
            tasks: RefCell::new(Vec::new()),
            keeper: RefCell::new(None),
        }
    }

    /// Has a task woken when this moment ends. Whether it will be.
    fn wait(&self, task: &Waker) -> bool {
        let keeper = self.keeper.borrow();
        let mut tasks = self.tasks.borrow_mut();
        let Some(keeper) = keeper.as_ref().filter(|_| tasks.len() < MOST) else {
            return false;
        };
        tasks.push(task.clone());
        if tasks.len() == 1 {
            keeper.wake_by_ref();
        }
        true
    }

    fn end(&self) {
        self.ended.set(self.ended.get() + 1);
        let tasks = mem::take(&mut *self.tasks.borrow_mut());
        for task in tasks {
            task.wake();
        }
    }
}

/// How long a client has not been watched.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Moment {
    /// How many had ended when it began.
    begun: Option<u64>,
    /// The same when its task was last put on the list.
    listed: Option<u64>,
}

impl Moment {
    /// Whether it is not over. If so, the task of `cx` is woken when it is.
    pub(super) fn lasts(&mut self, cx: &Context<'_>) -> bool {
        UNWATCHED.with(|unwatched| {
            let ended = unwatched.ended.get();
            if ended > *self.begun.get_or_insert(ended) + 1 {
                return false;
            }
            if self.listed == Some(ended) {
                return true;
            }
            let listed = unwatched.wait(cx.waker());
            self.listed = listed.then_some(ended);
            listed
        })
    }
}

/// Ends the moments of a worker's clients, from now on, and does not end itself. To be a task of its own on
/// the worker's thread.
pub async fn keep_ending_moments() {
    /// Leaves nobody waiting.
    struct Ending;
    impl Drop for Ending {
        fn drop(&mut self) {
            UNWATCHED.with(|unwatched| {
                unwatched.keeper.take();
                unwatched.end();
            });
        }
    }
    let _ending = Ending;
    loop {
        poll_fn(|cx| {
            UNWATCHED.with(|unwatched| {
                *unwatched.keeper.borrow_mut() = Some(cx.waker().clone());
                match unwatched.tasks.borrow().is_empty() {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            })
        })
        .await;
        tokio::time::sleep(MOMENT).await;
        UNWATCHED.with(Unwatched::end);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future as _, pin::pin};

    use futures_util::task::noop_waker_ref;
    use tokio::time::Instant;

    use super::*;

    /// Waits until a client that began now is to be watched.
    async fn unwatched() -> Duration {
        let (began, mut moment) = (Instant::now(), Moment::default());
        poll_fn(|cx| match moment.lasts(cx) {
            true => Poll::Pending,
            false => Poll::Ready(began.elapsed()),
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_watched_for_a_moment() {
        assert_eq!(unwatched().await, Duration::ZERO, "nobody would end it");
        let clients = async {
            let first = unwatched().await;
            assert!(first >= MOMENT && first <= 2 * MOMENT + Duration::from_millis(2));
            // One that begins later has its own time.
            let later = async {
                tokio::time::sleep(MOMENT / 2).await;
                unwatched().await
            };
            let (earlier, later) = tokio::join!(unwatched(), later);
            for some in [earlier, later] {
                assert!(some >= MOMENT && some <= 2 * MOMENT + Duration::from_millis(2));
            }
        };
        tokio::select! {
            biased;
            () = keep_ending_moments() => {}
            () = clients => {}
        }
        assert_eq!(unwatched().await, Duration::ZERO, "nobody does any more");
    }

    #[tokio::test]
    async fn of_very_many_the_last_are_watched_and_all_are_once_nobody_ends_moments() {
        let cx = &mut Context::from_waker(noop_waker_ref());
        let mut moments = vec![Moment::default(); MOST + 1];
        {
            let mut ending = pin!(keep_ending_moments());
            assert!(ending.as_mut().poll(cx).is_pending());
            let lasting = moments
                .iter_mut()
                .filter_map(|moment| moment.lasts(cx).then_some(()));
            assert_eq!(lasting.count(), MOST);
            // Being asked again makes it no longer.
            assert!(moments[0].lasts(cx) && !moments[MOST].lasts(cx));
        }
        assert!(!moments[0].lasts(cx));
    }
}
