//! Pipes the kernel passes bytes through from socket to socket (splice(2)), and the thread's stock
//! of them.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};
use tokio::{io::Interest, net::TcpStream};

/// What a pipe is made to hold: as much as everyone may have by default. A few large moves wake a
/// receiver less often than many small ones.
pub(super) const SIZE: usize = 1024 * 1024;
/// What it is made to hold where the kernel refuses that. Where it refuses this too, it holds what
/// the kernel gives it.
const SMALLER: usize = 256 * 1024;
/// How many empty pipes a thread keeps.
const POOLED: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe of the thread's; goes back to it when dropped empty.
#[derive(Debug)]
pub(super) struct Pipe {
    /// `None` only while it is dropped.
    ends: Option<Ends>,
    /// How many bytes are in it.
    held: usize,
}

impl Pipe {
    /// An empty one.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub(super) fn take() -> io::Result<Self> {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        let ends = match pooled {
            Some(ends) => ends,
            None => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                // It works as it is, too.
                let _ = fcntl_setpipe_size(&write, SIZE)
                    .or_else(|_| fcntl_setpipe_size(&write, SMALLER));
                Ends { read, write }
            }
        };
        Ok(Self {
            ends: Some(ends),
            held: 0,
        })
    }

    /// How many bytes are in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what `source` has into it; 0 at the end. It has to be empty, so that there is room
    /// whenever there are bytes.
    pub(super) fn poll_fill(
        &mut self,
        source: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(source.poll_read_ready(cx))?;
            let moved = source.try_io(Interest::READABLE, || {
                Ok(splice(source, None, &ends.write, None, SIZE, FLAGS)?)
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
    pub(super) fn poll_empty(
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
    pub(super) fn spill(&mut self) -> io::Result<Vec<u8>> {
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
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::INVAL.raw_os_error()) || code == Some(Errno::NOSYS.raw_os_error())
}

impl Drop for Pipe {
    fn drop(&mut self) {
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
        assert!(pipe.poll_fill(&source, &mut idle()).is_pending());
        client.write_all(b"hello").await.unwrap();
        let some = poll_fn(|cx| pipe.poll_fill(&source, cx)).await.unwrap();
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
            poll_fn(|cx| pipe.poll_fill(&source, cx)).await.unwrap();
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
        poll_fn(|cx| pipe.poll_fill(&source, cx)).await.unwrap();
        drop(pipe);
        assert_eq!(POOL.with_borrow(Vec::len), 0);
        drop(Pipe::take().unwrap());
        assert_eq!(POOL.with_borrow(Vec::len), 1);
    }

    #[tokio::test]
    async fn what_no_socket_takes_from_a_pipe_is_read_from_it() {
        let (mut client, source) = pair().await;
        client.write_all(b"hello").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        poll_fn(|cx| pipe.poll_fill(&source, cx)).await.unwrap();
        assert_eq!(pipe.spill().unwrap(), b"hello");
        assert_eq!(pipe.held(), 0);
    }
}
