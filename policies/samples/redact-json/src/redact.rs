//! Masks values of JSON text that comes in pieces.
//!
//! It needs no tree and no stack: in JSON a string with a colon behind it is a name, and nothing else
//! is. Text that is not JSON passes as it is, but for what looks like a field.

/// Where the text is at.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Between strings.
    Outside,
    /// In a string that can be a name.
    Name(Escape),
    /// Behind it: with a colon it was one.
    Behind { hit: bool },
    /// Before the value of a field that is masked.
    Value,
    /// In a string that is masked.
    MaskedString { escaped: bool },
    /// In an object or list that is masked, so deep.
    Masked { depth: u64 },
    /// In a string in there.
    StringWithin { depth: u64, escaped: bool },
    /// In a number or a word that is masked.
    MaskedWord,
}

/// Where a string is at with its escapes (RFC 8259 section 7).
#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    Begun,
    /// Behind `\u`, with so many digits and what they say.
    Unicode {
        digits: u8,
        code: u16,
    },
}

/// Masks the values of some fields.
#[derive(Debug)]
pub struct Redactor {
    fields: Vec<Vec<u8>>,
    /// The mask, as a JSON string.
    mask: Vec<u8>,
    longest: usize,
    state: State,
    /// The string so far, as it reads without escapes; none if it is too long to be a field's name.
    name: Option<Vec<u8>>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

impl Redactor {
    /// For fields of these names.
    pub fn new(fields: Vec<Vec<u8>>, mask: &str) -> Self {
        let longest = fields.iter().map(Vec::len).max().unwrap_or_default();
        let mask = quoted(mask);
        Self {
            fields,
            mask,
            longest,
            state: State::Outside,
            name: None,
            high: None,
        }
    }

    /// The next piece, masked.
    pub fn next(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() + self.mask.len());
        for &byte in piece {
            self.step(byte, &mut out);
        }
        out
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (State::Name(escape), _) => {
                out.push(byte);
                self.in_name(escape, byte)
            }
            (State::Behind { hit }, b' ' | b'\t' | b'\r' | b'\n') => {
                out.push(byte);
                State::Behind { hit }
            }
            (State::Behind { hit: true }, b':') => {
                out.push(byte);
                State::Value
            }
            (State::Value, b' ' | b'\t' | b'\r' | b'\n') => {
                out.push(byte);
                State::Value
            }
            (State::Value, b',' | b'}' | b']')
            | (State::MaskedWord, b',' | b'}' | b']')
            | (State::MaskedWord, b' ' | b'\t' | b'\r' | b'\n') => {
                out.push(byte);
                State::Outside
            }
            (State::Value, _) => {
                out.extend_from_slice(&self.mask);
                match byte {
                    b'"' => State::MaskedString { escaped: false },
                    b'{' | b'[' => State::Masked { depth: 1 },
                    _ => State::MaskedWord,
                }
            }
            (State::MaskedString { escaped: false }, b'"') => State::Outside,
            (State::MaskedString { escaped }, _) => State::MaskedString {
                escaped: !escaped && byte == b'\\',
            },
            (State::Masked { depth }, b'"') => State::StringWithin {
                depth,
                escaped: false,
            },
            (State::Masked { depth }, b'{' | b'[') => State::Masked { depth: depth + 1 },
            (State::Masked { depth: 1 }, b'}' | b']') => State::Outside,
            (State::Masked { depth }, b'}' | b']') => State::Masked { depth: depth - 1 },
            (
                State::StringWithin {
                    depth,
                    escaped: false,
                },
                b'"',
            ) => State::Masked { depth },
            (State::StringWithin { depth, escaped }, _) => State::StringWithin {
                depth,
                escaped: !escaped && byte == b'\\',
            },
            (State::Masked { .. } | State::MaskedWord, _) => self.state,
            (State::Outside | State::Behind { .. }, b'"') => {
                out.push(byte);
                self.name = Some(Vec::new());
                self.high = None;
                State::Name(Escape::No)
            }
            (State::Outside | State::Behind { .. }, _) => {
                out.push(byte);
                State::Outside
            }
        };
    }

    fn in_name(&mut self, escape: Escape, byte: u8) -> State {
        State::Name(match (escape, byte) {
            (Escape::No, b'"') => {
                self.end_pair();
                let name = self.name.take();
                return State::Behind {
                    hit: name.is_some_and(|name| self.fields.contains(&name)),
                };
            }
            (Escape::No, b'\\') => Escape::Begun,
            (Escape::No, _) => {
                self.end_pair();
                self.add(&[byte]);
                Escape::No
            }
            (Escape::Begun, b'u') => Escape::Unicode { digits: 0, code: 0 },
            (Escape::Begun, _) => {
                let byte = match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                };
                self.end_pair();
                self.add(&[byte]);
                Escape::No
            }
            (Escape::Unicode { digits, code }, _) => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .and_then(|digit| u16::try_from(digit).ok());
                match (digit, digits) {
                    // Not JSON; at the end of the string it must not go unseen all the same.
                    (None, _) => return self.in_name(Escape::No, byte),
                    (Some(digit), 3) => {
                        self.add_unit(code << 4 | digit);
                        Escape::No
                    }
                    (Some(digit), _) => Escape::Unicode {
                        digits: digits + 1,
                        code: code << 4 | digit,
                    },
                }
            }
        })
    }

    /// Adds a unit of UTF-16, which can be half of a character.
    fn add_unit(&mut self, unit: u16) {
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let character = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                self.add_char(character);
            }
            (high, _) => {
                self.high = high;
                self.end_pair();
                if (0xd800..0xdc00).contains(&unit) {
                    self.high = Some(unit);
                } else {
                    self.add_char(char::from_u32(unit.into()));
                }
            }
        }
    }

    /// A first half with no second behind it is no character.
    fn end_pair(&mut self) {
        if self.high.take().is_some() {
            self.add_char(None);
        }
    }

    fn add_char(&mut self, character: Option<char>) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        self.add(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(name) = &mut self.name {
            name.extend_from_slice(bytes);
            if name.len() > self.longest {
                self.name = None;
            }
        }
    }
}

/// Text as a JSON string.
fn quoted(text: &str) -> Vec<u8> {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out.into_bytes()
}
