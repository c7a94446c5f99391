//! Bytes on their way out that are held for what follows them.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use smallvec::{SmallVec, smallvec};
use tokio::io::AsyncWrite;

/// How many idle rooms a thread keeps.
const POOLED: usize = 16;

thread_local! {
    /// Room for what is held: a connection has it only while it holds something.
    static ROOMS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What is held of one connection.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    /// How much of it was written.
    written: usize,
}

impl Held {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
        }
    }

    /// How many bytes are held.
    pub const fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether nothing is.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many bytes there is room.
    #[cfg(test)]
    pub const fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// What is held.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Holds these too.
    pub fn add(&mut self, slices: &[IoSlice<'_>]) {
        if self.bytes.capacity() == 0 {
            self.bytes = ROOMS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self.bytes.drain(..mem::take(&mut self.written));
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
    }

    /// Takes no more room than it needs, for it is held for long.
    pub fn shrink(&mut self) {
        let rest = self.bytes().into();
        self.release();
        self.bytes = rest;
    }

    /// Holds nothing any more, and has no room for it.
    pub fn release(&mut self) {
        self.bytes.clear();
        self.written = 0;
        if self.bytes.capacity() > 0 {
            let room = mem::take(&mut self.bytes);
            ROOMS.with_borrow_mut(|rooms| {
                if rooms.len() < POOLED {
                    rooms.push(room);
                }
            });
        }
    }

    /// Writes all that is held.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_write_by(|bytes| Pin::new(&mut *io).poll_write(cx, bytes))
    }

    /// Has `write` write all that is held.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn poll_write_by(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match ready!(write(self.bytes()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                some => self.written += some,
            }
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// Writes all that is held, and these in the same call; how much of these.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn poll_write_and(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut io = Pin::new(io);
        while !self.is_empty() {
            let held = self.len();
            let written = match slices {
                [] => io.as_mut().poll_write(cx, self.bytes()),
                _ => {
                    let mut all: SmallVec<[_; 16]> = smallvec![IoSlice::new(self.bytes())];
                    all.extend(slices.iter().map(|slice| IoSlice::new(slice)));
                    io.as_mut().poll_write_vectored(cx, &all)
                }
            };
            let some = ready!(written)?;
            match some {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                some if some <= held => self.written += some,
                some => {
                    self.release();
                    return Poll::Ready(Ok(some - held));
                }
            }
        }
        self.release();
        match slices {
            [] => Poll::Ready(Ok(0)),
            _ => io.poll_write_vectored(cx, slices),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}
