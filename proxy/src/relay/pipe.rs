//! Pipes the kernel passes bytes through from socket to socket (splice(2)), and the thread's stock
//! of them.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice},
};
use tokio::{io::Interest, net::TcpStream};

/// What a pipe is made to hold: as much as everyone may have by default. A few large moves wake a
/// receiver less often than many small ones.
pub const SIZE: usize = 1024 * 1024;
/// What it is made to hold where the kernel refuses that.
const SMALLER: usize = 256 * 1024;
/// What the kernel gives if it refuses this too. Where a user has too many pipes it gives less (pipe(7),
/// `pipe-user-pages-soft`), and copying is better.
const LEAST: usize = 64 * 1024;
/// How many empty pipes a thread keeps.
const POOLED: usize = 16;
/// How many are lent at once: what those who do not read can make the kernel hold, and the process keep
/// open, is bounded.
const LENT: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENDING: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe of the thread's; goes back to it when dropped empty.
#[derive(Debug)]
pub struct Pipe {
    /// `None` only while it is dropped.
    ends: Option<Ends>,
    /// How many bytes are in it.
    held: usize,
}

impl Pipe {
    /// An empty one.
    ///
    /// # Errors
    /// When the thread has lent as many as it may, the process has no file descriptors left, or its user too
    /// many pipes.
    pub fn take() -> io::Result<Self> {
        let lent = LENDING.get();
        if lent == LENT {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let pooled = POOL.with_borrow_mut(Vec::pop);
        let ends = match pooled {
            Some(ends) => ends,
            None => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                let size = fcntl_setpipe_size(&write, SIZE)
                    .or_else(|_| fcntl_setpipe_size(&write, SMALLER))
                    .or_else(|_| fcntl_getpipe_size(&write))?;
                if size < LEAST {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Ends { read, write }
            }
        };
        LENDING.set(lent + 1);
        Ok(Self {
            ends: Some(ends),
            held: 0,
        })
    }

    /// How many bytes are in it.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Moves what `source` has into it, at most `most` bytes; 0 at the end. It has to be empty, so that
    /// there is room whenever there are bytes.
    ///
    /// # Errors
    /// When the connection is broken, or [cannot be spliced](is_unsupported).
    pub fn poll_fill(
        &mut self,
        source: &TcpStream,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(source.poll_read_ready(cx))?;
            let moved = source.try_io(Interest::READABLE, || {
                Ok(splice(source, None, &ends.write, None, most, FLAGS)?)
            });
            match moved {
                Err(error) if is_no_answer(&error) => {}
                Ok(some) => {
                    self.held += some;
                    return Poll::Ready(Ok(some));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves what is in it to `sink`: all, or what the sink takes.
    ///
    /// # Errors
    /// As of [`poll_fill`](Self::poll_fill).
    pub fn poll_empty(
        &mut self,
        sink: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(sink.poll_write_ready(cx))?;
            let moved = sink.try_io(Interest::WRITABLE, || {
                Ok(splice(&ends.read, None, sink, None, self.held, FLAGS)?)
            });
            match moved {
                Err(error) if is_no_answer(&error) => {}
                Ok(some) => {
                    self.held -= some.min(self.held);
                    return Poll::Ready(Ok(some));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads all that is in it, where a socket takes nothing from a pipe.
    ///
    /// # Errors
    /// When it has not all that was put into it.
    pub fn spill(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        let mut rest = bytes.as_mut_slice();
        while let (Some(ends), false) = (&self.ends, rest.is_empty()) {
            match rustix::io::read(&ends.read, &mut *rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => rest = rest.get_mut(some..).unwrap_or_default(),
            }
        }
        self.held = 0;
        Ok(bytes)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Whether to ask again, or to wait for the socket to be ready.
fn is_no_answer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Whether the kernel cannot splice these at all (splice(2), EINVAL), and copying is left.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::INVAL.raw_os_error()) || code == Some(Errno::NOSYS.raw_os_error())
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = LENDING.try_with(|lent| lent.set(lent.get().saturating_sub(1)));
        if self.held > 0 {
            return;
        }
        let Some(ends) = self.ends.take() else { return };
        // At the thread's end there is no pool to go back to.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < POOLED
            {
                pool.push(ends);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::relay::tests::pair;

    fn idle() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[tokio::test]
    async fn bytes_go_through_and_both_ends_are_waited_for() {
        let ((mut client, source), (sink, mut upstream)) = tokio::join!(pair(), pair());
        let mut pipe = Pipe::take().unwrap();
        assert!(pipe.poll_fill(&source, SIZE, &mut idle()).is_pending());
        client.write_all(b"hello").await.unwrap();
        let some = poll_fn(|cx| pipe.poll_fill(&source, SIZE, cx))
            .await
            .unwrap();
        assert_eq!((some, pipe.held()), (5, 5));
        let some = poll_fn(|cx| pipe.poll_empty(&sink, cx)).await.unwrap();
        assert_eq!((some, pipe.held()), (5, 0));
        let mut read = [0; 5];
        upstream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");

        // Until the sink takes no more.
        let chunk = vec![7; SIZE];
        let stuck = loop {
            while client.try_write(&chunk).is_ok() {}
            poll_fn(|cx| pipe.poll_fill(&source, SIZE, cx))
                .await
                .unwrap();
            while pipe.held() > 0 {
                if pipe.poll_empty(&sink, &mut idle()).is_pending() {
                    break;
                }
            }
            if pipe.held() > 0 {
                break pipe.held();
            }
        };
        assert!(stuck <= SIZE * 16, "{stuck} bytes in a pipe");
        drop(client);
        drop(sink);
        let mut rest = Vec::new();
        upstream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn a_pipe_with_bytes_in_it_is_not_lent_again() {
        let (mut client, source) = pair().await;
        client.write_all(b"secret").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        poll_fn(|cx| pipe.poll_fill(&source, SIZE, cx))
            .await
            .unwrap();
        drop(pipe);
        assert_eq!(POOL.with_borrow(Vec::len), 0);
        drop(Pipe::take().unwrap());
        assert_eq!(POOL.with_borrow(Vec::len), 1);
    }

    #[test]
    fn no_more_are_lent_than_may_be_and_what_is_given_back_is_lent_again() {
        let mut lent: Vec<Pipe> = std::iter::from_fn(|| Pipe::take().ok())
            .take(LENT + 1)
            .collect();
        assert_eq!(lent.len(), LENT);
        lent.pop();
        let last = Pipe::take().unwrap();
        assert!(Pipe::take().is_err());
        drop((lent, last));
        assert!(Pipe::take().is_ok() && POOL.with_borrow(Vec::len) == POOLED);
    }

    #[tokio::test]
    async fn what_no_socket_takes_from_a_pipe_is_read_from_it() {
        let (mut client, source) = pair().await;
        client.write_all(b"hello").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        poll_fn(|cx| pipe.poll_fill(&source, SIZE, cx))
            .await
            .unwrap();
        assert_eq!(pipe.spill().unwrap(), b"hello");
        assert_eq!(pipe.held(), 0);
    }
}
