//! A reader of HTTP/1.1 that knows one way to read a message, and refuses every other.

/// A whole message.
#[derive(Debug)]
pub struct Message {
    /// The start line.
    pub line: String,
    /// The fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// `no body`, `length 5` or `chunked`.
    pub framing: String,
    /// The content; of a chunked body with its trailers, one in a line.
    pub body: String,
}

impl Message {
    /// The only value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(other, _)| other == name);
        let value = named.next().map(|(_, value)| &**value);
        assert!(named.next().is_none(), "{name} twice: {self:?}");
        value
    }
}

/// The head at the front of `bytes`, and what follows it; nothing while it is not whole.
pub fn head(bytes: &[u8]) -> Result<Option<(Message, &[u8])>, String> {
    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok(None);
    };
    let told = || format!("no head: {}", bytes.escape_ascii());
    let text = str::from_utf8(&bytes[..end]).map_err(|_| told())?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(told)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !name.bytes().all(token) || value.trim() != value {
            return Err(told());
        }
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    if text.replace("\r\n", "").contains(|c: char| c.is_control()) {
        return Err(told());
    }
    let message = Message {
        line,
        fields,
        framing: "no body".to_owned(),
        body: String::new(),
    };
    Ok(Some((message, &bytes[end + 4..])))
}

/// The message at the front of `bytes`, and what follows it; nothing while it is not whole.
/// `bodyless` for the answer to HEAD.
pub fn message(bytes: &[u8], bodyless: bool) -> Result<Option<(Message, &[u8])>, String> {
    let Some((mut message, rest)) = head(bytes)? else {
        return Ok(None);
    };
    let length = message.field("content-length").map(str::to_owned);
    let coding = message.field("transfer-encoding").map(str::to_owned);
    let status = message.line.strip_prefix("HTTP/1.1 ");
    let never = status.is_some_and(|status| {
        status.starts_with(['1']) || status.starts_with("204") || status.starts_with("304")
    });
    match (length, coding) {
        _ if bodyless || never => Ok(Some((message, rest))),
        (None, None) => Ok(Some((message, rest))),
        (Some(length), None) => {
            let size: usize = length.parse().map_err(|_| format!("{message:?}"))?;
            if size.to_string() != length {
                return Err(format!("{message:?}"));
            }
            let Some((body, rest)) = rest.split_at_checked(size) else {
                return Ok(None);
            };
            message.framing = format!("length {size}");
            message.body = String::from_utf8_lossy(body).into_owned();
            Ok(Some((message, rest)))
        }
        (None, Some(coding)) if coding == "chunked" => {
            message.framing = coding;
            chunks(message, rest)
        }
        both => Err(format!("framed by {both:?}")),
    }
}

fn chunks(mut message: Message, mut rest: &[u8]) -> Result<Option<(Message, &[u8])>, String> {
    loop {
        let Some((size, after)) = line(rest) else {
            return Ok(None);
        };
        let length = usize::from_str_radix(&size, 16).map_err(|_| format!("size {size:?}"))?;
        if format!("{length:x}") != size {
            return Err(format!("size {size:?}"));
        }
        rest = after;
        if length == 0 {
            break;
        }
        let Some((chunk, after)) = rest.split_at_checked(length + 2) else {
            return Ok(None);
        };
        let content = chunk
            .strip_suffix(b"\r\n")
            .ok_or("a chunk without an end")?;
        message.body += &String::from_utf8_lossy(content);
        rest = after;
    }
    loop {
        let Some((text, after)) = line(rest) else {
            return Ok(None);
        };
        rest = after;
        if text.is_empty() {
            return Ok(Some((message, rest)));
        }
        message.body += &format!("\n{text}");
    }
}

fn line(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(2).position(|part| part == b"\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    Some((text, &bytes[end + 2..]))
}
