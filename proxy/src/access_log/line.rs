//! One line, written field by field as what it tells becomes known.

use std::{
    cell::Cell,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::json::put_string;
use crate::address::put_socket;

/// The name of a field as it stands before its value.
macro_rules! field {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(crate) use field;

/// A line that is being written. Names are given as `field!` makes them.
#[derive(Debug, Default)]
pub struct Line(Vec<u8>);

impl Line {
    /// Begins a line of this time in `room`.
    pub(super) fn begin(mut room: Vec<u8>, now: &Now) -> Self {
        room.clear();
        room.extend_from_slice(b"{\"time\":\"");
        now.put(&mut room);
        room.push(b'"');
        Self(room)
    }

    /// Fields that were written before: what the lines of a connection have in common.
    pub fn fields(&mut self, written: &[u8]) {
        self.0.extend_from_slice(written);
    }

    /// A text of any bytes.
    pub fn text(&mut self, name: &'static str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        put_string(&mut self.0, value);
    }

    /// A text that needs no escaping: a name of ours.
    pub fn word(&mut self, name: &'static str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    /// Texts by their names.
    pub fn map<'v>(
        &mut self,
        name: &'static str,
        entries: impl Iterator<Item = (String, &'v str)>,
    ) {
        self.0.extend_from_slice(name.as_bytes());
        for (place, (name, value)) in entries.enumerate() {
            self.0.push(if place == 0 { b'{' } else { b',' });
            put_string(&mut self.0, name.as_bytes());
            self.0.push(b':');
            put_string(&mut self.0, value.as_bytes());
        }
        self.0.push(b'}');
    }

    /// A number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.0.extend_from_slice(name.as_bytes());
        put_number(&mut self.0, value);
    }

    /// A time that passed, in microseconds.
    pub fn duration(&mut self, name: &'static str, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.number(name, micros);
    }

    /// An address with its port.
    pub fn address(&mut self, name: &'static str, value: SocketAddr) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        put_socket(&mut self.0, value);
        self.0.push(b'"');
    }

    /// A line, or what is to be part of one, that comes behind these bytes.
    pub(super) const fn behind(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What was written of it so far.
    pub(super) fn into_room(self) -> Vec<u8> {
        self.0
    }

    /// The whole line, with what it came behind.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

fn put_number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The time of day, whose seconds are written once for all lines of a second.
#[derive(Debug)]
pub(super) struct Now {
    second: Cell<u64>,
    written: Cell<[u8; 20]>,
}

impl Default for Now {
    fn default() -> Self {
        Self {
            second: Cell::new(u64::MAX),
            written: Cell::new([b'0'; 20]),
        }
    }
}

impl Now {
    /// RFC 3339, in UTC, with microseconds.
    fn put(&self, out: &mut Vec<u8>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.put_time(since.unwrap_or_default(), out);
    }

    fn put_time(&self, since: Duration, out: &mut Vec<u8>) {
        if self.second.get() != since.as_secs() {
            let second = i64::try_from(since.as_secs()).unwrap_or_default();
            let time = jiff::Timestamp::from_second(second).unwrap_or_default();
            let text = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
            if let Ok(written) = text.as_bytes().try_into() {
                self.written.set(written);
            }
            self.second.set(since.as_secs());
        }
        out.extend_from_slice(&self.written.get());
        let mut digits = [b'0'; 6];
        let mut rest = since.subsec_micros();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let now = Now::default();
        for (since, want) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
            (
                Duration::new(1_700_000_000, 1_002_999),
                "2023-11-14T22:13:20.001002Z",
            ),
            (
                Duration::new(1_700_000_000, 999_999_999),
                "2023-11-14T22:13:20.999999Z",
            ),
            (
                Duration::new(4_102_444_799, 0),
                "2099-12-31T23:59:59.000000Z",
            ),
        ] {
            let mut out = Vec::new();
            now.put_time(since, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let mut line = Line::begin(b"what was there".to_vec(), &Now::default());
        line.word(field!("listener"), "web");
        line.text(field!("path"), b"/\"\n");
        line.number(field!("status"), 200);
        line.duration(field!("duration_us"), Duration::from_millis(2));
        line.address(field!("a"), ([127, 0, 0, 1], 80).into());
        line.address(field!("b"), "[2001:db8::1]:443".parse().unwrap());
        let line = line.end();
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(read["path"], "/\"\n");
        assert_eq!(
            (&read["status"], &read["duration_us"]),
            (&200.into(), &2000.into())
        );
        assert_eq!(
            (&read["a"], &read["b"]),
            (&"127.0.0.1:80".into(), &"[2001:db8::1]:443".into())
        );
    }
}
