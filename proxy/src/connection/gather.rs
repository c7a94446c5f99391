//! Writes of an HTTP/2 connection, gathered: what many streams answer at about the same time goes
//! out at once. The library hands on each DATA frame by itself.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
};

use super::streams::Streams;
use crate::held::Held;

/// The most bytes that are held.
const MOST: usize = 32 * 1024;
/// The largest write that is: more costs less by itself than it takes to copy.
const SMALL: usize = 4 * 1024;

/// A connection whose writes are held where several streams are answered: until the worker has seen
/// to all that was ready, and once to what became ready meanwhile.
///
/// A flush does not wait for that, or the library would wait with the next frame. Its owner is woken
/// for the end of that time, and has to flush again then, as the library does whenever it is polled.
#[derive(Debug)]
pub(super) struct Gathered<I: AsyncWrite + Unpin> {
    io: I,
    streams: Rc<Streams>,
    held: Held,
    /// The others have their turn.
    waiting: bool,
    turn: Arc<Turn>,
}

/// The end of the worker's turn.
#[derive(Debug, Default)]
struct Turn {
    over: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.over.store(true, Relaxed);
        self.task.wake();
    }
}

impl<I: AsyncWrite + Unpin> Gathered<I> {
    /// A connection that has these streams.
    pub(super) fn new(io: I, streams: Rc<Streams>) -> Self {
        Self {
            io,
            streams,
            held: Held::new(),
            waiting: false,
            turn: Arc::default(),
        }
    }

    /// Whether what is held is to be written now. If not, `cx` is woken for it.
    fn is_due(&mut self, cx: &Context<'_>) -> bool {
        self.turn.task.register(cx.waker());
        if self.waiting {
            return self.turn.over.load(Relaxed);
        }
        self.waiting = true;
        self.turn.over.store(false, Relaxed);
        let waker = Waker::from(self.turn.clone());
        // The runtime wakes it once it has nothing else to do, whether this is polled again or not.
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        false
    }

    /// Writes all that is held.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_now(cx, &[]).map_ok(|_| ())
    }

    /// Writes all that is held, and these in the same call; how much of these.
    fn poll_write_now(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let held = !self.held.is_empty();
        let written = self.held.poll_write_and(&mut self.io, cx, slices);
        if held && self.held.is_empty() {
            self.waiting = false;
            self.streams.begin_burst();
        }
        written
    }

    /// Whether a write of so many bytes is to be held, once there is room for it.
    fn poll_holds(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<bool>> {
        if size > SMALL || self.held.is_empty() && !self.streams.are_several() {
            return Poll::Ready(Ok(false));
        }
        if self.held.len() + size > MOST {
            ready!(self.poll_drain(cx))?;
        }
        Poll::Ready(Ok(true))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gathered<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let size = slices.iter().map(|slice| slice.len()).sum();
        if ready!(this.poll_holds(cx, size))? {
            this.held.add(slices);
            return Poll::Ready(Ok(size));
        }
        this.poll_write_now(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.held.is_empty() {
            if !this.is_due(cx) {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_drain(cx))?;
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// A connection can end in the middle: what was flushed before goes out as far as that can be done
/// at once.
impl<I: AsyncWrite + Unpin> Drop for Gathered<I> {
    fn drop(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        if !self.held.is_empty() && self.poll_drain(cx).is_ready() {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Keeps each write apart, and takes so many bytes of one at most.
    #[derive(Debug, Clone)]
    struct Sink {
        writes: Rc<RefCell<Vec<Vec<u8>>>>,
        takes: usize,
    }

    impl Sink {
        fn new(takes: usize) -> Self {
            Self {
                writes: Rc::default(),
                takes,
            }
        }

        fn sizes(&self) -> Vec<usize> {
            self.writes.borrow().iter().map(Vec::len).collect()
        }
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let some = bytes.len().min(self.takes);
            self.writes.borrow_mut().push(bytes[..some].to_vec());
            Poll::Ready(Ok(some))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(sink: &Sink) -> (Gathered<Sink>, Rc<Streams>) {
        let streams = Rc::new(Streams::new(None));
        (Gathered::new(sink.clone(), streams.clone()), streams)
    }

    async fn flush(io: &mut Gathered<Sink>) {
        assert!(futures_util::poll!(pin!(io.flush())).is_ready());
    }

    #[tokio::test]
    async fn what_several_streams_answer_goes_out_at_once() {
        let sink = Sink::new(usize::MAX);
        let (mut io, streams) = gathered(&sink);
        let open = [streams.open(), streams.open()];
        io.write_all(b"one").await.unwrap();
        flush(&mut io).await;
        // Answered to its end, a stream is none that is open.
        drop(open);
        io.write_all(b"two").await.unwrap();
        flush(&mut io).await;
        assert!(sink.sizes().is_empty());
        // The runtime has nothing else to do.
        yield_now().await;
        flush(&mut io).await;
        assert_eq!(sink.sizes(), [6]);

        let _open = [streams.open(), streams.open()];
        io.write_all(b"three").await.unwrap();
        flush(&mut io).await;
        io.shutdown().await.unwrap();
        assert_eq!(sink.sizes(), [6, 5]);
        io.write_all(b"last").await.unwrap();
        drop(io);
        assert_eq!(sink.sizes(), [6, 5, 4]);
    }

    #[tokio::test]
    async fn its_owner_is_woken_for_what_is_held() {
        let sink = Sink::new(usize::MAX);
        let (mut io, streams) = gathered(&sink);
        let _open = [streams.open(), streams.open()];
        io.write_all(b"answers").await.unwrap();
        let written = std::future::poll_fn(|cx| {
            let _ = Pin::new(&mut io).poll_flush(cx);
            match sink.sizes().len() {
                0 => Poll::Pending,
                some => Poll::Ready(some),
            }
        });
        assert_eq!(written.await, 1);
    }

    #[tokio::test]
    async fn a_single_stream_waits_for_nobody() {
        let sink = Sink::new(usize::MAX);
        let (mut io, streams) = gathered(&sink);
        for _ in 0..2 {
            let _open = streams.open();
            io.write_all(b"answer").await.unwrap();
            flush(&mut io).await;
        }
        assert_eq!(sink.sizes(), [6, 6]);
        // Neither does it after several.
        drop([streams.open(), streams.open()]);
        io.write_all(b"answers").await.unwrap();
        flush(&mut io).await;
        yield_now().await;
        flush(&mut io).await;
        let _open = streams.open();
        io.write_all(b"answer").await.unwrap();
        assert_eq!(sink.sizes(), [6, 6, 7, 6]);
        assert_eq!(io.held.room(), 0, "there is no room for nothing");
    }

    #[tokio::test]
    async fn much_is_not_held() {
        let sink = Sink::new(usize::MAX);
        let (mut io, streams) = gathered(&sink);
        let _open = [streams.open(), streams.open()];
        io.write_all(b"head").await.unwrap();
        io.write_all(&[0; SMALL + 1]).await.unwrap();
        assert_eq!(sink.sizes(), [4 + SMALL + 1]);
        for _ in 0..=MOST / SMALL {
            io.write_all(&[0; SMALL]).await.unwrap();
        }
        assert_eq!(sink.sizes(), [4 + SMALL + 1, MOST]);
    }

    proptest! {
        #[test]
        fn every_byte_goes_out_once_and_in_order(
            writes in proptest::collection::vec((0_usize..2 * SMALL, any::<bool>(), any::<bool>()), 1..20),
            takes in 100_usize..2 * SMALL,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let sink = Sink::new(takes);
            let expected = runtime.block_on(async {
                let (mut io, streams) = gathered(&sink);
                let _open = [streams.open(), streams.open()];
                let mut expected = Vec::new();
                for (size, flushed, waited) in writes {
                    let bytes: Vec<u8> = (0..=250).cycle().skip(expected.len() % 251).take(size).collect();
                    io.write_all(&bytes).await.unwrap();
                    expected.extend_from_slice(&bytes);
                    if flushed {
                        io.flush().await.unwrap();
                    }
                    if waited {
                        yield_now().await;
                    }
                }
                io.shutdown().await.unwrap();
                expected
            });
            prop_assert_eq!(sink.writes.borrow().concat(), expected);
        }
    }
}
