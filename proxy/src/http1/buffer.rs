//! The two buffers of a connection: what was read and not yet parsed, and what is to be written.
//!
//! Both hand their memory back to a small pool of the thread when the connection idles, so that
//! ten thousand idle connections hold no buffers, and a busy connection allocates none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// The size of a fresh read buffer, and of a connection's first read.
const READ_INITIAL: usize = 16 * 1024;
/// The largest read; reads grow towards it while they come back full.
const READ_MAX: usize = 512 * 1024;
/// The largest first read of a message: where the one before was no larger, the next is expected to be as
/// large.
const READ_FIRST_MAX: usize = 128 * 1024;
/// What a read is larger by than what is known to come: one that comes back full is followed by one in
/// vain.
const READ_SLACK: usize = 1024;
/// The largest read buffer that is kept for the next connection. They wait for their first bytes with a
/// connection each: the smaller, the more of them are in the processor's caches.
const READ_KEEP: usize = 2 * READ_INITIAL;
/// A body frame up to this size is copied behind what is queued; a larger one is queued as it is.
const COPY_MAX: usize = 4 * 1024;
/// What a write buffer starts with.
const WRITE_INITIAL: usize = 2 * 1024;
/// A write buffer that grew beyond this is not kept for the next connection.
const WRITE_KEEP: usize = 64 * 1024;
/// What a map for the fields of a head starts with.
const MAP_INITIAL: usize = 24;
/// A map with room for more is not kept.
const MAP_KEEP: usize = 256;
/// With this much written at its front, and that at least half of it, a write buffer is moved up.
const WRITTEN_MAX: usize = 16 * 1024;
/// How many buffers of each kind a thread keeps.
const POOLED: usize = 64;
/// The most slices given to one vectored write.
const SLICES: usize = 16;

thread_local! {
    static READ_POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static MAP_POOL: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    static WRITE_POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes read from the connection and not yet consumed.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    /// The bytes; decoders split frames off its front without copying.
    pub(crate) bytes: BytesMut,
    /// How much was ever read, to tell progress by.
    pub(super) total: u64,
    /// The same when the message at hand began.
    begun: u64,
    next: usize,
}

impl ReadBuffer {
    /// An empty buffer that holds no memory until the first read.
    pub(crate) fn new() -> Self {
        Self {
            bytes: BytesMut::new(),
            total: 0,
            begun: 0,
            next: READ_INITIAL,
        }
    }

    /// Reads once, behind the bytes already held. `Ok(0)` is the end of the stream.
    pub(crate) fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() - self.bytes.len() < self.next / 4 {
            if !self.bytes.is_empty() {
                self.bytes.reserve(self.next);
            } else if !self.bytes.try_reclaim(self.next) {
                // Nothing is in it to be carried over.
                self.bytes = take_read_buffer(self.next);
            }
        }
        let spare = self.bytes.capacity() - self.bytes.len();
        let Poll::Ready(read) = pin!(io.read_buf(&mut self.bytes)).poll(cx) else {
            if self.total == self.begun && self.bytes.capacity() > READ_KEEP {
                // Nothing has come: nobody holds so much while it waits. Its pages were not touched yet.
                self.bytes = BytesMut::new();
            }
            return Poll::Pending;
        };
        let read = read?;
        self.total += read as u64;
        if read == spare {
            self.next = (self.next * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// Makes the next read large enough for so many bytes that are known to come, up to the largest
    /// read: a body then takes few calls, not one for each doubling.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.next = self.next.max(with_slack(bytes));
    }

    /// Counts bytes of the message at hand that were taken off the connection by other ways.
    pub(crate) const fn pass(&mut self, bytes: usize) {
        self.total += bytes as u64;
    }

    /// Gives the memory back to the thread's pool; to be called when the connection idles. The message
    /// that comes next is taken to be as large as the one before, if that was of moderate size.
    pub(crate) fn release(&mut self) {
        if !self.bytes.is_empty() {
            return;
        }
        if self.total > self.begun {
            let size = with_slack(self.total - self.begun);
            self.next = match size {
                ..=READ_FIRST_MAX => size.max(READ_INITIAL),
                _ => READ_INITIAL,
            };
            self.begun = self.total;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        // False while slices of it are still in use: then the last of them frees the memory.
        if bytes.try_reclaim(READ_INITIAL) && bytes.capacity() <= READ_KEEP {
            READ_POOL.with_borrow_mut(|pool| {
                if pool.len() < POOLED {
                    pool.push(bytes);
                }
            });
        }
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.bytes.clear();
        self.release();
    }
}

/// So many bytes and some more, as far as a read goes.
fn with_slack(bytes: u64) -> usize {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    bytes.saturating_add(READ_SLACK).min(READ_MAX)
}

/// An empty buffer with room for `size`, of the thread's pool if the one at hand there has it.
fn take_read_buffer(size: usize) -> BytesMut {
    READ_POOL
        .with_borrow_mut(|pool| match pool.last() {
            Some(last) if last.capacity() >= size => pool.pop(),
            _ => None,
        })
        .unwrap_or_else(|| BytesMut::with_capacity(size))
}

/// An empty map for the fields of a head, with memory from the thread's pool if there is any.
pub(super) fn take_map() -> HeaderMap {
    MAP_POOL
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| HeaderMap::with_capacity(MAP_INITIAL))
}

/// Gives the memory of a map back to the thread's pool, once its head was written or is over.
pub(super) fn recycle_map(mut map: HeaderMap) {
    if (MAP_INITIAL..=MAP_KEEP).contains(&map.capacity()) {
        map.clear();
        MAP_POOL.with_borrow_mut(|pool| {
            if pool.len() < POOLED {
                pool.push(map);
            }
        });
    }
}

/// One piece of what is to be written, in order.
#[derive(Debug)]
enum Segment {
    /// That many bytes of the flat buffer.
    Flat(usize),
    /// A body frame, uncopied.
    Shared(Bytes),
}

/// Bytes to be written: heads, chunk sizes and small frames in one flat buffer, large frames
/// queued between them uncopied, and all of it written with as few calls as possible.
#[derive(Debug)]
pub(super) struct WriteBuffer {
    flat: Vec<u8>,
    /// Where the unwritten part of `flat` begins.
    start: usize,
    /// Where the part of `flat` that no segment covers begins; it follows the segments.
    covered: usize,
    segments: VecDeque<Segment>,
    /// The transport holds written bytes it was not yet asked, or able, to flush.
    unflushed: bool,
    /// The unwritten bytes in shared segments.
    shared: usize,
}

impl WriteBuffer {
    /// An empty buffer that holds no memory.
    pub(super) fn new() -> Self {
        Self {
            flat: Vec::new(),
            start: 0,
            covered: 0,
            segments: VecDeque::new(),
            unflushed: false,
            shared: 0,
        }
    }

    /// The number of bytes not yet written.
    pub(super) fn len(&self) -> usize {
        self.flat.len() - self.start + self.shared
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the transport may still keep some of what was written to it.
    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// The flat buffer, to append to.
    pub(super) fn flat(&mut self) -> &mut Vec<u8> {
        if self.flat.capacity() == 0 {
            self.flat = WRITE_POOL
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(WRITE_INITIAL));
        }
        // A reader that is slow but never stops may never let it run empty.
        if self.start >= WRITTEN_MAX && self.start * 2 >= self.flat.len() {
            self.flat.drain(..self.start);
            self.covered -= self.start;
            self.start = 0;
        }
        &mut self.flat
    }

    /// Appends a body frame, copied if it is small.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.flat().extend_from_slice(&bytes);
            return;
        }
        let uncovered = self.flat.len() - self.covered;
        if uncovered > 0 {
            self.segments.push_back(Segment::Flat(uncovered));
            self.covered = self.flat.len();
        }
        self.shared += bytes.len();
        self.segments.push_back(Segment::Shared(bytes));
    }

    /// Writes until nothing is left, then flushes the transport.
    pub(super) fn poll_flush<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx))?;
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes until nothing is left. The transport may keep it until it is flushed or shut down.
    pub(super) fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.segments.is_empty() {
                let flat = self.flat.get(self.start..).unwrap_or_default();
                ready!(Pin::new(&mut *io).poll_write(cx, flat))?
            } else {
                ready!(self.poll_write_segments(io, cx))?
            };
            self.taken(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Has `write` write it, if it is in one piece: all of it, or what it will.
    pub(super) fn poll_write_flat(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while self.segments.is_empty() && !self.is_empty() {
            let written = ready!(write(self.flat.get(self.start..).unwrap_or_default()))?;
            self.taken(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// The transport took so much.
    fn taken(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        self.unflushed = true;
        Ok(())
    }

    fn poll_write_segments<I: AsyncWrite + Unpin>(
        &self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let mut start = self.start;
        let tail = self.flat.len() - self.covered;
        let last = (tail > 0).then_some(Segment::Flat(tail));
        for (slice, segment) in slices
            .iter_mut()
            .zip(self.segments.iter().chain(last.as_ref()))
        {
            let bytes = match segment {
                Segment::Flat(len) => {
                    let bytes = self.flat.get(start..start + len).unwrap_or_default();
                    start += len;
                    bytes
                }
                Segment::Shared(bytes) => bytes,
            };
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        let slices = slices.get(..used).unwrap_or_default();
        if io.is_write_vectored() {
            Pin::new(io).poll_write_vectored(cx, slices)
        } else {
            let first = slices.iter().find(|slice| !slice.is_empty());
            Pin::new(io).poll_write(cx, first.map(|slice| &**slice).unwrap_or_default())
        }
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            match self.segments.front_mut() {
                Some(Segment::Flat(len)) => {
                    let step = written.min(*len);
                    *len -= step;
                    written -= step;
                    self.start += step;
                    if *len == 0 {
                        self.segments.pop_front();
                    }
                }
                Some(Segment::Shared(bytes)) => {
                    let step = written.min(bytes.len());
                    bytes.advance(step);
                    written -= step;
                    self.shared -= step;
                    if bytes.is_empty() {
                        self.segments.pop_front();
                    }
                }
                None => {
                    self.start += written;
                    self.covered = self.covered.max(self.start);
                    break;
                }
            }
        }
        if self.is_empty() {
            self.flat.clear();
            self.start = 0;
            self.covered = 0;
        }
    }

    /// Gives the memory back to the thread's pool; to be called when the connection idles.
    pub(super) fn release(&mut self) {
        if !self.is_empty() || self.flat.capacity() == 0 {
            return;
        }
        let flat = std::mem::take(&mut self.flat);
        if flat.capacity() <= WRITE_KEEP {
            WRITE_POOL.with_borrow_mut(|pool| {
                if pool.len() < POOLED {
                    pool.push(flat);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_read_is_as_large_as_what_is_known_to_come() {
        let (mut writer, mut io) = duplex(READ_MAX);
        let sent: Vec<u8> = (0..50_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        writer.write_all(&sent).await.unwrap();
        let mut buffer = ReadBuffer::new();
        let first = poll_fn(|cx| buffer.poll_read(&mut io, cx)).await.unwrap();
        assert_eq!(first, READ_INITIAL);
        // Still in use, as a frame is that waits to be written.
        let frame = buffer.bytes.split_to(first);
        let left = sent.len() - first;
        buffer.expect(left as u64);
        let rest = poll_fn(|cx| buffer.poll_read(&mut io, cx)).await.unwrap();
        assert_eq!(rest, left);
        assert!([&frame[..], &buffer.bytes[..]].concat() == sent);
    }

    #[tokio::test]
    async fn a_message_as_large_as_the_one_before_takes_one_read_and_no_room_while_it_is_waited_for()
     {
        let (mut peer, mut io) = duplex(1 << 20);
        let mut buffer = ReadBuffer::new();
        for (size, reads) in [(60_000, 3), (60_000, 1), (60_000, 1), (100, 1), (60_000, 3)] {
            let waits = poll_fn(|cx| Poll::Ready(buffer.poll_read(&mut io, cx).is_pending())).await;
            assert!(waits && buffer.bytes.capacity() <= READ_KEEP);
            peer.write_all(&vec![7; size]).await.unwrap();
            let mut taken = 0;
            while buffer.bytes.len() < size {
                poll_fn(|cx| buffer.poll_read(&mut io, cx)).await.unwrap();
                taken += 1;
            }
            assert_eq!(taken, reads, "{size} bytes");
            buffer.bytes.clear();
            buffer.release();
        }
    }

    #[tokio::test]
    async fn the_room_of_a_message_that_has_begun_is_kept_while_the_rest_is_waited_for() {
        let (mut peer, mut io) = duplex(1 << 20);
        let mut buffer = ReadBuffer::new();
        buffer.expect(100_000);
        peer.write_all(&[7; 1000]).await.unwrap();
        poll_fn(|cx| buffer.poll_read(&mut io, cx)).await.unwrap();
        drop(buffer.bytes.split());
        let waits = poll_fn(|cx| Poll::Ready(buffer.poll_read(&mut io, cx).is_pending())).await;
        assert!(waits && buffer.bytes.capacity() > READ_KEEP);
    }

    #[tokio::test]
    async fn a_very_large_message_makes_no_first_read_large() {
        let (mut peer, mut io) = duplex(1 << 20);
        let mut buffer = ReadBuffer::new();
        peer.write_all(&vec![7; READ_FIRST_MAX]).await.unwrap();
        while buffer.bytes.len() < READ_FIRST_MAX {
            poll_fn(|cx| buffer.poll_read(&mut io, cx)).await.unwrap();
        }
        buffer.bytes.clear();
        buffer.release();
        assert_eq!(buffer.next, READ_INITIAL);
    }

    #[tokio::test]
    async fn what_was_written_is_let_go_though_the_buffer_never_runs_empty() {
        // Each flush is to write what there is room for.
        tokio::task::unconstrained(write_faster_than_is_read()).await;
    }

    async fn write_faster_than_is_read() {
        let (mut reader, mut io) = duplex(1024);
        let mut out = WriteBuffer::new();
        let (mut sent, mut read) = (Vec::new(), Vec::new());
        let mut frames = (0..2000_u32).map(|number| {
            let large = if number % 100 == 0 {
                COPY_MAX + 1
            } else {
                1000
            };
            Bytes::from(vec![number.to_le_bytes()[0]; large])
        });
        loop {
            while out.len() < 8 * 1024
                && let Some(frame) = frames.next()
            {
                sent.extend_from_slice(&frame);
                out.push(frame);
            }
            let held = out.flat.len();
            assert!(held <= 2 * WRITTEN_MAX, "{held} bytes are held");
            let flushed = poll_fn(|cx| Poll::Ready(out.poll_flush(&mut io, cx))).await;
            if sent.len() > read.len() {
                reader.read_buf(&mut read).await.unwrap();
            } else {
                assert!(flushed.is_ready());
                break;
            }
        }
        assert!(read == sent);
    }
}
