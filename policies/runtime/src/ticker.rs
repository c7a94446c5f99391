//! The clock that bounds how long a call may run.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use wasmtime::{Engine, EngineWeak};

/// The time between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// After how many ticks the clock asks whether anyone needs it.
const LINGER: u32 = 200;

/// It does not tick.
const STOPPED: u8 = 0;
/// It ticks, and has not been needed since it asked.
const IDLE: u8 = 1;
/// It ticks, and has been needed.
const NEEDED: u8 = 2;

/// Ticks while there are calls, and for a while after: one that ticks always would wake an idle
/// machine, one that stops at once would be woken by each call.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    state: AtomicU8,
    thread: OnceLock<Thread>,
}

impl Ticker {
    /// Starts the clock of an engine. It ends with the engine.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self::default());
        let (of_thread, engine) = (ticker.clone(), engine.weak());
        let thread = thread::Builder::new()
            .name("policy-clock".into())
            .spawn(move || of_thread.run(&engine))?;
        // Nobody else sets it.
        let _ = ticker.thread.set(thread.thread().clone());
        Ok(ticker)
    }

    /// Something runs that is to be bounded. Said when it begins, and again after each tick and each
    /// wait: the clock stops if it hears nothing for long.
    pub(crate) fn need(&self) {
        // Mostly a read: what all workers write would be passed from core to core.
        if self.state.load(Ordering::Relaxed) != NEEDED
            && self.state.swap(NEEDED, Ordering::AcqRel) == STOPPED
        {
            self.wake();
        }
    }

    /// The engine is gone: ends the thread.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, engine: &EngineWeak) {
        loop {
            for _ in 0..LINGER {
                let next = Instant::now() + TICK;
                while let Some(left) = next.checked_duration_since(Instant::now()) {
                    thread::park_timeout(left);
                }
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                engine.increment_epoch();
            }
            let expect = |from, to| {
                self.state
                    .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
            };
            if !expect(NEEDED, IDLE) && expect(IDLE, STOPPED) {
                self.stand_still(engine);
            }
        }
    }

    fn stand_still(&self, engine: &EngineWeak) {
        while self.state.load(Ordering::Acquire) == STOPPED && engine.upgrade().is_some() {
            thread::park();
        }
    }
}
