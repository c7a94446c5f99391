//! Body framing: taking a body out of the bytes of a connection, and putting one in
//! (RFC 9112 sections 6 and 7).

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::buffer::WriteBuffer;
use super::head::{Framing, HeadError, parse_trailers, put_hex, put_trailers};

/// The most digits of a chunk size: as many as 64 bits need.
const MAX_SIZE_DIGITS: u8 = 16;
/// The most bytes of chunk extensions in one body.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// The most bytes of a trailer section.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// The most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error("the connection failed while a body was read: {0}")]
    Io(#[from] io::Error),
    /// The connection ended before the body did.
    #[error("the connection ended before the body did")]
    Incomplete,
    /// The chunked coding or the trailers are malformed or over a bound.
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    /// The exchange this body belongs to is over.
    #[error("the exchange this body belongs to is over")]
    Gone,
}

/// What a decoder found.
#[derive(Debug)]
pub(super) enum Decoded {
    /// Some content; never empty.
    Data(Bytes),
    /// The trailers, and with them the end.
    Trailers(HeaderMap),
    /// The end, without trailers.
    End,
    /// Nothing without more bytes.
    More,
}

/// Takes one body out of the bytes read from a connection.
#[derive(Debug)]
pub(super) enum Decoder {
    /// There is nothing left.
    Done,
    /// So many bytes are left.
    Length(u64),
    /// In the chunked coding.
    Chunked(Chunked),
    /// Up to the end of the connection.
    UntilClose,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many bytes of content are left, if that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(length) => Some(*length),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next piece off the front of `buffer`.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodyError> {
        let decoded = match self {
            Self::Done => return Ok(Decoded::End),
            Self::Length(left) => match take(buffer, *left) {
                None => return Ok(Decoded::More),
                Some(bytes) => {
                    *left -= bytes.len() as u64;
                    if *left == 0 {
                        *self = Self::Done;
                    }
                    return Ok(Decoded::Data(bytes));
                }
            },
            Self::Chunked(chunked) => chunked.decode(buffer)?,
            Self::UntilClose => {
                return Ok(take(buffer, u64::MAX).map_or(Decoded::More, Decoded::Data));
            }
        };
        if let Decoded::Data(_) = &decoded {
            // The end often comes with the last chunk: see it at once, not at the next poll.
            if let Self::Chunked(Chunked {
                state: ChunkState::DataEnd(0),
                ..
            }) = self
                && buffer.starts_with(b"\r\n0\r\n\r\n")
            {
                buffer.advance(7);
                *self = Self::Done;
            }
        } else if matches!(decoded, Decoded::Trailers(_) | Decoded::End) {
            *self = Self::Done;
        }
        Ok(decoded)
    }

    /// Takes content that went another way. Only a body of known length can.
    pub(super) fn pass(&mut self, bytes: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// Takes the end of the connection: whether it ends the body too.
    pub(super) fn end_of_stream(&mut self) -> Result<(), BodyError> {
        match self {
            Self::Done => Ok(()),
            Self::UntilClose => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(BodyError::Incomplete),
        }
    }
}

/// Splits off up to `most` bytes, or nothing if there are none.
fn take(buffer: &mut BytesMut, most: u64) -> Option<Bytes> {
    let length = usize::try_from(most)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    (length > 0).then(|| buffer.split_to(length).freeze())
}

/// The chunked coding (RFC 9112 section 7.1).
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: ChunkState,
    /// Bytes of chunk extensions seen so far.
    extensions: usize,
    /// How much of an incomplete trailer section has been looked at.
    scanned: usize,
}

/// Where in the coding the decoder is.
#[derive(Debug, Clone, Copy)]
enum ChunkState {
    /// In a chunk size of so many digits so far.
    Size { size: u64, digits: u8 },
    /// In the blanks before the extensions.
    Blank { size: u64 },
    /// In the extensions of a chunk of that size.
    Extension { size: u64 },
    /// Before the LF of a chunk's size line.
    SizeEnd { size: u64 },
    /// In a chunk that has so much content left.
    Data(u64),
    /// So many bytes into the CRLF that ends a chunk.
    DataEnd(u8),
    /// In the trailer section.
    Trailers,
}

impl Default for ChunkState {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            match self.state {
                ChunkState::Data(left) => {
                    let Some(bytes) = take(buffer, left) else {
                        return Ok(Decoded::More);
                    };
                    let left = left - bytes.len() as u64;
                    self.state = if left == 0 {
                        ChunkState::DataEnd(0)
                    } else {
                        ChunkState::Data(left)
                    };
                    return Ok(Decoded::Data(bytes));
                }
                ChunkState::Trailers => return self.decode_trailers(buffer),
                _ => {}
            }
            let Some(byte) = buffer.first().copied() else {
                return Ok(Decoded::More);
            };
            buffer.advance(1);
            self.state = self.step(byte)?;
        }
    }

    /// Takes one byte of what stands between the chunks' contents.
    fn step(&mut self, byte: u8) -> Result<ChunkState, BodyError> {
        use ChunkState::{Blank, Data, DataEnd, Extension, Size, SizeEnd, Trailers};
        match (self.state, byte) {
            (Size { size, digits: 1.. }, b'\r') => Ok(SizeEnd { size }),
            (Size { size, digits: 1.. }, b';' | b' ' | b'\t') => {
                self.count_extension()?;
                // Blanks may only stand before a semicolon (section 7.1.1), which follows.
                if byte == b';' {
                    Ok(Extension { size })
                } else {
                    Ok(Blank { size })
                }
            }
            (Size { size, digits }, byte) => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .ok_or(BodyError::Malformed("invalid chunk size"))?;
                if digits == MAX_SIZE_DIGITS {
                    return Err(BodyError::Malformed("the chunk size is too large"));
                }
                Ok(Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                })
            }
            (Blank { size }, b' ' | b'\t' | b';') => {
                self.count_extension()?;
                if byte == b';' {
                    Ok(Extension { size })
                } else {
                    Ok(self.state)
                }
            }
            (Extension { size }, b'\r') => Ok(SizeEnd { size }),
            (Extension { .. }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extension()?;
                Ok(self.state)
            }
            (SizeEnd { size: 0 }, b'\n') => Ok(Trailers),
            (SizeEnd { size }, b'\n') => Ok(Data(size)),
            (DataEnd(0), b'\r') => Ok(DataEnd(1)),
            (DataEnd(1), b'\n') => Ok(ChunkState::default()),
            (DataEnd(_), _) => Err(BodyError::Malformed("a chunk does not end in CRLF")),
            _ => Err(BodyError::Malformed("invalid chunk size line")),
        }
    }

    fn count_extension(&mut self) -> Result<(), BodyError> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(BodyError::Malformed("the chunk extensions are too large"));
        }
        Ok(())
    }

    fn decode_trailers(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BodyError> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            return Ok(Decoded::End);
        }
        // Only another line end can complete the section.
        let fresh = buffer.get(self.scanned..).unwrap_or_default();
        self.scanned = buffer.len();
        if memchr::memchr(b'\n', fresh).is_some() {
            match parse_trailers(buffer, MAX_TRAILER_FIELDS) {
                Ok(Some((length, trailers))) if length <= MAX_TRAILER_BYTES => {
                    buffer.advance(length);
                    return Ok(Decoded::Trailers(trailers));
                }
                Ok(_) => {}
                Err(HeadError::Malformed(reason)) => return Err(BodyError::Malformed(reason)),
                Err(_) => return Err(BodyError::Malformed("the trailers are too large")),
            }
        }
        if buffer.len() > MAX_TRAILER_BYTES {
            return Err(BodyError::Malformed("the trailers are too large"));
        }
        Ok(Decoded::More)
    }
}

/// A body does not have the length its head declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not have the declared length")]
pub struct LengthMismatch;

/// Puts one body into the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoder {
    /// There is no body.
    None,
    /// So many bytes are still to come.
    Length(u64),
    /// In the chunked coding.
    Chunked,
    /// The end of the connection ends the body.
    UntilClose,
}

impl Encoder {
    /// Appends some content.
    pub(super) fn data(
        &mut self,
        bytes: Bytes,
        out: &mut WriteBuffer,
    ) -> Result<(), LengthMismatch> {
        if bytes.is_empty() {
            // An empty chunk would be the last one.
            return Ok(());
        }
        match self {
            Self::None => return Err(LengthMismatch),
            Self::Length(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(LengthMismatch)?;
                out.push(bytes);
            }
            Self::Chunked => {
                let flat = out.flat();
                put_hex(flat, bytes.len() as u64);
                flat.extend_from_slice(b"\r\n");
                out.push(bytes);
                out.flat().extend_from_slice(b"\r\n");
            }
            Self::UntilClose => out.push(bytes),
        }
        Ok(())
    }

    /// Counts content that goes another way. Only a body of known length can.
    pub(super) fn pass(&mut self, bytes: u64) -> Result<(), LengthMismatch> {
        let Self::Length(left) = self else {
            return Err(LengthMismatch);
        };
        *left = left.checked_sub(bytes).ok_or(LengthMismatch)?;
        Ok(())
    }

    /// Appends the end. Trailers have a place in the chunked coding only, elsewhere they are
    /// dropped (RFC 9110 section 6.5.1).
    pub(super) fn finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut WriteBuffer,
    ) -> Result<(), LengthMismatch> {
        match self {
            Self::Length(1..) => Err(LengthMismatch),
            Self::Chunked => {
                let flat = out.flat();
                flat.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    put_trailers(flat, trailers);
                }
                flat.extend_from_slice(b"\r\n");
                Ok(())
            }
            Self::None | Self::Length(0) | Self::UntilClose => Ok(()),
        }
    }
}
