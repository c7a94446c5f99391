//! Bodies, whole and as they pass.

use std::io;

use serde::de::DeserializeOwned;

use crate::raw::types as raw;
use crate::{ChangeError, Headers};

/// The proxy takes at most this much at once.
const MAX_WRITE: usize = 1 << 20;

/// A whole body, held by the proxy up to the policy's bound.
#[derive(Clone, Copy)]
pub struct Buffer<'a>(pub(crate) &'a raw::Buffer);

impl Buffer<'_> {
    /// Its size in bytes; asking for it copies nothing.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.bytes()
    }

    /// What it says as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0.bytes())
    }

    /// Puts another in its place. `content-length` follows; `content-encoding`, `etag` and digests
    /// are the policy's to mend.
    pub fn replace(&self, bytes: impl AsRef<[u8]>) -> Result<(), ChangeError> {
        self.0.replace(bytes.as_ref())
    }

    /// The trailers behind it, where there are any.
    pub fn trailers(&self) -> Option<Headers> {
        self.0.trailers().map(Headers)
    }
}

/// A body as it comes: in chunks, or as [`io::Read`].
pub struct BodyReader<'a> {
    raw: &'a raw::BodyReader,
    /// What a chunk has left over between two calls of `read`.
    rest: Vec<u8>,
    /// How much of `rest` was read.
    at: usize,
}

impl<'a> BodyReader<'a> {
    pub(crate) fn new(raw: &'a raw::BodyReader) -> Self {
        Self {
            raw,
            rest: Vec::new(),
            at: 0,
        }
    }

    /// The next bytes, at least one; none at the end. Waits for them.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.rest);
        match rest.get(std::mem::take(&mut self.at)..) {
            Some(left) if !left.is_empty() => Some(left.to_vec()),
            _ => self.raw.read(),
        }
    }

    /// All that is left, chunk by chunk.
    pub fn chunks(&mut self) -> impl Iterator<Item = Vec<u8>> {
        std::iter::from_fn(|| self.chunk())
    }

    /// The trailers behind the body, once all of it is read and where there are any.
    pub fn trailers(&self) -> Option<Headers> {
        self.raw.trailers().map(Headers)
    }
}

impl io::Read for BodyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.at == self.rest.len() {
            self.at = 0;
            self.rest = self.raw.read().unwrap_or_default();
        }
        let left = self.rest.get(self.at..).unwrap_or_default();
        let taken = left.len().min(out.len());
        for (to, from) in out.iter_mut().zip(left) {
            *to = *from;
        }
        self.at += taken;
        Ok(taken)
    }
}

/// A body as it goes, by way of [`io::Write`]. Nothing is held back: there is no need to flush.
pub struct BodyWriter<'a>(pub(crate) &'a raw::BodyWriter);

impl BodyWriter<'_> {
    /// Writes past the bound of the ABI, to see it hold.
    #[doc(hidden)]
    pub fn write_at_once(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}

impl io::Write for BodyWriter<'_> {
    /// Waits until the receiver takes more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        if !bytes.is_empty() {
            self.0.write(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
