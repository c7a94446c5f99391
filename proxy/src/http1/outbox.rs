//! Small writes of all connections of a worker, made one right behind the other once every task that
//! was ready has run.
//!
//! A write wakes whoever waits for it. Where requests come many at a time, a write after each of them
//! wakes the same receivers again and again; made together, one wake does for many.
//!
//! Nothing waits longer for this than until what was ready before it has been seen to. Where nobody
//! delivers (see [`keep_delivering`]), nothing waits.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// The most bytes of a write that waits for others.
const SMALL: usize = 16 * 1024;
/// With so many waiting they are made at once.
const MOST: usize = 64;

thread_local! {
    static OUTBOX: Outbox = const { Outbox::new() };
}

/// Somebody with something to write.
pub(super) trait Sender {
    /// Writes it. `cx` is of the task that left it; the answer is whether that is to be woken, as it
    /// waits for this or has to see to what could not be written.
    fn write(self: Rc<Self>, cx: &mut Context<'_>) -> bool;
}

/// What waits on one thread.
struct Outbox {
    /// Each with the task that left it.
    waiting: RefCell<VecDeque<(Rc<dyn Sender>, Waker)>>,
    /// The task that delivers, if there is one.
    postman: RefCell<Option<Waker>>,
    delivering: Cell<bool>,
}

impl Outbox {
    const fn new() -> Self {
        Self {
            waiting: RefCell::new(VecDeque::new()),
            postman: RefCell::new(None),
            delivering: Cell::new(false),
        }
    }

    fn deliver(&self) {
        if self.delivering.replace(true) {
            return;
        }
        let mut batch = Batch {
            outbox: self,
            left: mem::take(&mut *self.waiting.borrow_mut()),
        };
        while let Some((sender, task)) = batch.left.pop_front() {
            if sender.write(&mut Context::from_waker(&task)) {
                task.wake();
            }
        }
    }

    fn wake_postman(&self) {
        if let Some(postman) = &*self.postman.borrow() {
            postman.wake_by_ref();
        }
    }
}

/// What is being delivered.
struct Batch<'o> {
    outbox: &'o Outbox,
    left: VecDeque<(Rc<dyn Sender>, Waker)>,
}

/// Gives the room back. Where a write has panicked, the others are still to be made.
impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.outbox.delivering.set(false);
        let waiting = &mut *self.outbox.waiting.borrow_mut();
        self.left.append(waiting);
        mem::swap(&mut self.left, waiting);
        if !waiting.is_empty() {
            self.outbox.wake_postman();
        }
    }
}

/// Makes what waits, from now on, and does not end. To be a task of its own on the thread whose
/// connections are to write like this: it is woken by the first write that waits, and has its turn
/// after all that was ready then.
pub async fn keep_delivering() {
    /// Leaves nothing behind.
    struct Ending;
    impl Drop for Ending {
        fn drop(&mut self) {
            OUTBOX.with(|outbox| outbox.postman.take());
            deliver();
        }
    }
    let _ending = Ending;
    poll_fn(|cx| {
        OUTBOX.with(|outbox| {
            outbox.deliver();
            let known = &mut *outbox.postman.borrow_mut();
            match known {
                Some(known) => known.clone_from(cx.waker()),
                None => *known = Some(cx.waker().clone()),
            }
        });
        Poll::Pending
    })
    .await
}

/// Makes all that waits.
pub(super) fn deliver() {
    OUTBOX.with(Outbox::deliver);
}

/// Whether a write of so many bytes is to wait.
pub(super) fn takes(bytes: usize) -> bool {
    (1..=SMALL).contains(&bytes) && OUTBOX.with(|outbox| outbox.postman.borrow().is_some())
}

/// Has something written soon, for `task`. The caller must not hold a borrow of what it is written
/// from.
pub(super) fn post(sender: Rc<dyn Sender>, task: &Waker) {
    OUTBOX.with(|outbox| {
        let waiting = {
            let mut waiting = outbox.waiting.borrow_mut();
            waiting.push_back((sender, task.clone()));
            waiting.len()
        };
        if waiting == 1 {
            outbox.wake_postman();
        }
        if waiting >= MOST {
            outbox.deliver();
        }
    });
}

#[cfg(test)]
pub(super) mod tests;
