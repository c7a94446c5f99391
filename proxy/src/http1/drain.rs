//! Tells the connections of one worker thread that they are to finish.
//!
//! One thread only, so that asking costs a load and waiting costs no lock. A signal that comes
//! from another thread reaches it through a task of the worker that awaits that signal and then
//! calls [`Drain::start`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

#[derive(Debug, Default)]
struct State {
    draining: Cell<bool>,
    /// A slot for each connection that ever waited, reused when the connection ends.
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

/// Starts the drain of the connections that hold a [`DrainWatch`] of it.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    state: Rc<State>,
}

impl Drain {
    /// A drain that has not been started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on idle connections close, unless a request arrives on them within
    /// [`ServerConfig::drain_grace`](super::ServerConfig::drain_grace), and busy ones close after
    /// the exchange at hand.
    pub fn start(&self) {
        self.state.draining.set(true);
        let mut woken = Vec::new();
        for slot in self.state.wakers.borrow_mut().iter_mut() {
            woken.extend(slot.take());
        }
        woken.into_iter().for_each(Waker::wake);
    }

    /// A handle for one connection.
    #[must_use]
    pub fn watch(&self) -> DrainWatch {
        DrainWatch {
            state: Rc::clone(&self.state),
            slot: None,
        }
    }
}

/// One connection's view of a [`Drain`].
#[derive(Debug)]
pub struct DrainWatch {
    state: Rc<State>,
    slot: Option<usize>,
}

impl DrainWatch {
    /// Whether the drain has been started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.draining.get()
    }

    /// Whether the drain has been started; if not, the task is woken when it is.
    pub(super) fn poll_draining(&mut self, cx: &Context<'_>) -> bool {
        if self.is_draining() {
            return true;
        }
        let mut wakers = self.state.wakers.borrow_mut();
        let slot = *self.slot.get_or_insert_with(|| {
            self.state.free.borrow_mut().pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        if let Some(waker) = wakers.get_mut(slot)
            && !waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        false
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let waker = self
                .state
                .wakers
                .borrow_mut()
                .get_mut(slot)
                .and_then(Option::take);
            self.state.free.borrow_mut().push(slot);
            drop(waker);
        }
    }
}
