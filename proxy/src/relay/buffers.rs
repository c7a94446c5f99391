//! Buffers of a thread, lent to a direction of a relay while bytes are in them.

use std::{cell::RefCell, mem};

/// The size of a buffer: the most bytes a direction holds.
pub(super) const SIZE: usize = 64 * 1024;
/// How many idle buffers a thread keeps.
const POOLED: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of the thread's; goes back to it when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Box<[u8]>,
    /// Where what is not yet taken begins and ends.
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn take() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        Self {
            memory: pooled.unwrap_or_else(|| vec![0; SIZE].into()),
            start: 0,
            end: 0,
        }
    }

    /// One with these bytes in it.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self {
            start: 0,
            end: bytes.len(),
            memory: bytes.into(),
        }
    }

    /// All of its memory, for a read; [`Buffer::filled`] then says how much came.
    pub(super) fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Its first `length` bytes were read into.
    pub(super) fn filled(&mut self, length: usize) {
        (self.start, self.end) = (0, length.min(self.memory.len()));
    }

    /// What is not yet taken.
    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// So many more bytes were taken.
    pub(super) fn advance(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        // At the thread's end there is no pool to go back to.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && memory.len() == SIZE
                && pool.len() < POOLED
            {
                pool.push(memory);
            }
        });
    }
}
