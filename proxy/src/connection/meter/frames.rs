//! The heads of HTTP/2 frames, found in the bytes as they pass (RFC 9113 section 4.1).

/// How long a frame's head is.
const HEAD: usize = 9;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The bytes of its payload.
    pub length: u32,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream it is for, without the reserved bit.
    pub stream: u32,
}

/// The types of frames that are told apart (RFC 9113 section 6).
pub(super) mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// On HEADERS and CONTINUATION: the header block ends here.
pub(super) const END_HEADERS: u8 = 4;

/// On SETTINGS and PING: it answers one of ours.
pub(super) const ACK: u8 = 1;

/// Where in the sequence of frames the bytes so far have come to.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over before the next head.
    skip: usize,
    /// The part of a head that has arrived, and its length.
    part: [u8; HEAD],
    have: usize,
}

impl Frames {
    /// At the beginning of a connection, `preface` bytes before its first frame.
    pub const fn after(preface: usize) -> Self {
        Self {
            skip: preface,
            part: [0; HEAD],
            have: 0,
        }
    }

    /// Whether all of the last frame's payload has passed.
    pub const fn is_whole(&self) -> bool {
        self.skip == 0
    }

    /// The next head that ends in `bytes`, and what comes after it; `None` once they have passed.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<(Head, &'b [u8])> {
        let over = self.skip.min(bytes.len());
        self.skip -= over;
        let bytes = bytes.get(over..)?;
        if self.have == 0
            && let Some((head, rest)) = bytes.split_first_chunk()
        {
            return Some((self.read(head), rest));
        }
        let (some, rest) = bytes.split_at(bytes.len().min(HEAD - self.have));
        let part = self.part.get_mut(self.have..self.have + some.len())?;
        part.copy_from_slice(some);
        self.have += some.len();
        if self.have < HEAD {
            return None;
        }
        self.have = 0;
        let head = self.part;
        Some((self.read(&head), rest))
    }

    fn read(&mut self, head: &[u8; HEAD]) -> Head {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *head;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        Head {
            length,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"preface".to_vec();
        let mut expected = Vec::new();
        for (length, kind, stream) in [(0_u32, 4, 0), (5, 1, 1), (300, 0, 7), (8, 6, 0)] {
            bytes.extend_from_slice(&length.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[kind, 9]);
            // The reserved bit means nothing.
            bytes.extend_from_slice(&(stream | 1_u32 << 31).to_be_bytes());
            bytes.extend(vec![6; length as usize]);
            expected.push(Head {
                length,
                kind,
                flags: 9,
                stream,
            });
        }
        for size in 1..bytes.len() {
            let mut frames = Frames::after(7);
            let mut found = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some((head, rest)) = frames.next(piece) {
                    found.push(head);
                    piece = rest;
                }
            }
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(frames.is_whole());
        }
    }
}
