use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Wake,
};

use super::*;

/// Runs this on a thread where small writes wait for each other, as they do on a worker.
pub(in crate::http1) async fn delivering<T>(test: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        () = keep_delivering() => unreachable!("it does not end"),
        outcome = test => outcome,
    }
}

/// Writes its name.
#[derive(Debug)]
struct Named {
    name: usize,
    written: Rc<RefCell<Vec<usize>>>,
    /// Whether its task is to be woken.
    wakes: bool,
}

/// One that is written down in `written`.
fn named(name: usize, wakes: bool, written: &Rc<RefCell<Vec<usize>>>) -> Rc<Named> {
    Rc::new(Named {
        name,
        written: Rc::clone(written),
        wakes,
    })
}

impl Sender for Named {
    fn write(self: Rc<Self>, _: &mut Context<'_>) -> bool {
        self.written.borrow_mut().push(self.name);
        self.wakes
    }
}

#[tokio::test]
async fn writes_wait_for_the_end_of_a_turn_and_keep_their_order() {
    assert!(!takes(1), "nobody delivers");
    let written = Rc::new(RefCell::new(Vec::new()));
    delivering(async {
        assert!(takes(1) && takes(SMALL));
        assert!(!takes(0) && !takes(SMALL + 1));
        for name in 0..3 {
            post(named(name, false, &written), Waker::noop());
        }
        assert_eq!(*written.borrow(), [0; 0]);
        tokio::task::yield_now().await;
        assert_eq!(*written.borrow(), [0, 1, 2]);
        post(named(3, false, &written), Waker::noop());
    })
    .await;
    // Nothing is left behind by the one who delivered.
    assert_eq!(*written.borrow(), [0, 1, 2, 3]);
    assert!(!takes(1));
}

#[tokio::test]
async fn many_writes_do_not_wait_for_the_end_of_a_turn() {
    let written = Rc::new(RefCell::new(Vec::new()));
    delivering(async {
        for name in 0..=MOST {
            post(named(name, false, &written), Waker::noop());
        }
        assert_eq!(written.borrow().len(), MOST);
    })
    .await;
    assert!(written.borrow().iter().copied().eq(0..=MOST));
}

/// Panics.
struct Panicking;

impl Sender for Panicking {
    fn write(self: Rc<Self>, _: &mut Context<'_>) -> bool {
        panic!("as a test");
    }
}

#[tokio::test]
async fn a_panic_keeps_none_of_the_others_from_being_written() {
    let written = Rc::new(RefCell::new(Vec::new()));
    delivering(async {
        post(Rc::new(Panicking), Waker::noop());
        for name in 0..2 {
            post(named(name, false, &written), Waker::noop());
        }
        let delivered = std::panic::catch_unwind(deliver);
        assert!(delivered.is_err() && written.borrow().is_empty());
        tokio::task::yield_now().await;
        assert_eq!(*written.borrow(), [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_write_is_woken() {
    #[derive(Default)]
    struct Woken(AtomicU32);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(woken.clone());
    let written = Rc::default();
    delivering(async {
        for wakes in [false, true] {
            post(named(0, wakes, &written), &waker);
        }
        tokio::task::yield_now().await;
    })
    .await;
    assert_eq!((written.borrow().len(), woken.0.load(Relaxed)), (2, 1));
}
