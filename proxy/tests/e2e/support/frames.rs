//! An HTTP/2 client that sends the frames it is given, whatever they are, and tells of those that
//! come back (RFC 9113 section 4.1).

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::PATIENCE;

/// What a client begins with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
    /// A request without a body.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Error codes (RFC 9113 section 7).
pub mod code {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Settings (RFC 9113 section 6.5.2).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

/// A frame that was received.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().expect("four bytes")))
    }

    /// Whether it is the last of its stream that the other side sends.
    pub fn ends_stream(&self) -> bool {
        let may = matches!(self.kind, kind::DATA | kind::HEADERS);
        may && self.flags & flag::END_STREAM != 0
    }

    /// The status in a response's HEADERS, which the proxy writes first. The client must have
    /// asked for no dynamic table, as [`Raw::connect`] does.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        let mut block = self.payload.as_slice();
        // Updates of the table's size.
        while let [first, rest @ ..] = block
            && first & 0xe0 == 0x20
        {
            block = rest;
        }
        match block {
            // The static table (RFC 7541 appendix A).
            [index @ 0x88..=0x8e, ..] => {
                Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)])
            }
            [0x48 | 0x08 | 0x18, length, value @ ..] => {
                let digits = value.get(..usize::from(length & 0x7f))?;
                let text = if length & 0x80 == 0 {
                    String::from_utf8(digits.to_vec()).ok()?
                } else {
                    huffman_digits(digits)?
                };
                text.parse().ok()
            }
            _ => None,
        }
    }
}

/// Decimal digits in the Huffman code (RFC 7541 appendix B): those below 3 have five bits, the
/// others six.
fn huffman_digits(bytes: &[u8]) -> Option<String> {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut bits = bits.as_str();
    let mut text = String::new();
    while text.len() < 3 {
        let short = u32::from_str_radix(bits.get(..5)?, 2).ok()?;
        let (digit, length) = if short < 3 {
            (short, 5)
        } else {
            (u32::from_str_radix(bits.get(..6)?, 2).ok()? - 0x16, 6)
        };
        text.push(char::from_digit(digit, 10)?);
        bits = &bits[length..];
    }
    Some(text)
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with these values.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(kind::SETTINGS, flag::NONE, 0, &payload)
}

/// PING with this payload.
pub fn ping(payload: &[u8; 8]) -> Vec<u8> {
    frame(kind::PING, flag::NONE, 0, payload)
}

/// HEADERS with a whole header block.
pub fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

/// DATA.
pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload)
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
}

/// WINDOW_UPDATE.
pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, &more.to_be_bytes())
}

/// A header block of literals that enter no table (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

/// A string literal without the Huffman code (RFC 7541 sections 5.1 and 5.2).
pub fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).expect("short"));
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128 + 128).expect("a byte"));
            length /= 128;
        }
        block.push(u8::try_from(length).expect("a byte"));
    }
    block.extend_from_slice(text);
}

/// The header block of a request for `path`.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
    ])
}

/// A connection on which frames are sent as they are given.
#[derive(Debug)]
pub struct Raw<I = TcpStream> {
    io: I,
}

impl Raw {
    /// Connects and exchanges settings: no dynamic table for what the proxy sends.
    pub async fn connect(web: SocketAddr) -> Self {
        let stream = TcpStream::connect(web).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut raw = Self { io: stream };
        let none = settings(&[(setting::HEADER_TABLE_SIZE, 0)]);
        raw.send(&[PREFACE, &none].concat()).await;
        let first = raw.next().await.expect("the proxy's settings");
        assert_eq!((first.kind, first.flags), (kind::SETTINGS, flag::NONE));
        raw.send(&frame(kind::SETTINGS, flag::ACK, 0, &[])).await;
        loop {
            let frame = raw.next().await.expect("the settings are acknowledged");
            if (frame.kind, frame.flags) == (kind::SETTINGS, flag::ACK) {
                return raw;
            }
        }
    }
}

impl<I: AsyncRead + Unpin> Raw<I> {
    /// The next frame; nothing once the connection has ended, in whatever way.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = tokio::time::timeout(PATIENCE, async {
            let mut head = [0; 9];
            self.io.read_exact(&mut head).await.ok()?;
            let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
            let length = u32::from_be_bytes([0, l0, l1, l2]);
            let mut payload = vec![0; usize::try_from(length).expect("a length")];
            self.io.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind,
                flags,
                stream: u32::from_be_bytes([s0, s1, s2, s3]),
                payload,
            })
        });
        read.await.expect("a frame, or an end, in time")
    }

    /// The first frame for which `is_it` holds; nothing if the connection ends before.
    pub async fn until(&mut self, mut is_it: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if is_it(&frame) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end of the connection; the code of the GOAWAY before it, if there was one.
    pub async fn goaway(&mut self) -> Option<u32> {
        let mut said = None;
        while let Some(frame) = self.next().await {
            if frame.kind == kind::GOAWAY {
                said = frame.code();
            }
        }
        said
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Raw<I> {
    /// A connection on which nothing has been sent yet.
    pub fn over(io: I) -> Self {
        Self { io }
    }

    /// Sends bytes. They may be lost if the proxy has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(PATIENCE, self.io.write_all(bytes));
        let _ = sent.await.expect("bytes are taken, or refused, in time");
    }

    /// Sends bytes while it reads; all that came back until the proxy closed the connection.
    pub async fn flood(self, bytes: &[u8]) -> Vec<Frame> {
        let (read, mut write) = tokio::io::split(self.io);
        let mut reading = Raw {
            io: BufReader::new(read),
        };
        let mut heard = Vec::new();
        let hear = async {
            while let Some(frame) = reading.next().await {
                heard.push(frame);
            }
        };
        let send = async {
            // The rest of it is lost once the proxy has closed the connection.
            let _ = write.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! { () = hear => {}, () = send => {} }
        heard
    }

    /// Sends bytes until no more are taken, and reads nothing.
    pub async fn stuff(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            // No room for longer than it takes to be read: none is going to be.
            let wait = std::time::Duration::from_millis(500);
            match tokio::time::timeout(wait, self.io.write(left)).await {
                Ok(Ok(some)) => left = &left[some..],
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Sends a GET on `stream`; the status of its answer, read to its end.
    pub async fn get(&mut self, stream: u32, path: &str) -> Option<u16> {
        self.send(&headers(stream, flag::WHOLE, &request("GET", path)))
            .await;
        let mut status = None;
        while let Some(frame) = self.next().await {
            if frame.stream == stream {
                status = status.or(frame.status());
                if frame.ends_stream() || frame.kind == kind::RST_STREAM {
                    return status;
                }
            }
        }
        None
    }
}
