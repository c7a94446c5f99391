//! What is changed in the header fields of messages.

use fleetway_proto::v1;
use http::{HeaderName, HeaderValue, header};

use crate::error::Checker;

/// Changes to the header fields of a message, made in the order of the fields here. No name is
/// there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRules {
    /// Fields that are taken out.
    pub remove: Box<[HeaderName]>,
    /// Fields that get this one value.
    pub set: Box<[(HeaderName, HeaderValue)]>,
    /// Fields that get this value besides those they have.
    pub add: Box<[(HeaderName, HeaderValue)]>,
}

/// The most fields that rules name.
const MAX_FIELDS: usize = 64;
/// The longest name in bytes.
const MAX_NAME: usize = 256;
/// The longest value in bytes.
const MAX_VALUE: usize = 4096;

/// The fields that frame a message or belong to the connection (RFC 9110 section 7.6.1).
static OF_MESSAGE: [HeaderName; 8] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The fields that are for the next hop alone.
static OF_HOP: [HeaderName; 2] = [header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION];

/// The fields of a request that the proxy sets, or takes for its own decisions.
static OF_REQUEST: [HeaderName; 10] = [
    header::EXPECT,
    header::FORWARDED,
    header::MAX_FORWARDS,
    header::SEC_WEBSOCKET_KEY,
    header::VIA,
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
];

/// The fields of a response that the proxy sets, or has checked.
static OF_RESPONSE: [HeaderName; 2] = [header::DATE, header::SEC_WEBSOCKET_ACCEPT];

/// Whether a field frames a message or belongs to the connection, so that no document sets it.
pub(super) fn is_of_message(name: &HeaderName) -> bool {
    OF_MESSAGE.contains(name)
}

/// Which messages rules are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Those to an upstream.
    Request,
    /// Those to a client.
    Response,
}

impl Direction {
    /// Why rules cannot name a field, if so.
    fn refuses(self, name: &HeaderName) -> Option<&'static str> {
        if is_of_message(name) || OF_HOP.contains(name) {
            return Some("belongs to the connection or frames the message");
        }
        match self {
            Self::Request if *name == header::HOST => {
                Some("cannot be changed here: use `forward.rewrite.host` of the route")
            }
            Self::Request if OF_REQUEST.contains(name) => Some("is set by the proxy"),
            Self::Response if OF_RESPONSE.contains(name) => Some("is set by the proxy"),
            _ => None,
        }
    }
}

impl HeaderRules {
    /// Reads the rules at `field`; `None` where there are none.
    pub(super) fn read(
        check: &mut Checker,
        direction: Direction,
        field: &str,
        message: Option<v1::HeaderRules>,
    ) -> Option<Box<Self>> {
        let message = message?;
        match message.set.len() + message.add.len() + message.remove.len() {
            0 => check.fault(field, "changes nothing: give it `set`, `add` or `remove`"),
            1..=MAX_FIELDS => {}
            _ => {
                check.fault(field, format!("names more than {MAX_FIELDS} fields"));
                return None;
            }
        }
        let mut reader = Reader {
            check,
            direction,
            named: Vec::new(),
        };
        let set = reader.read_all(&format!("{field}.set"), &message.set);
        let add = reader.read_all(&format!("{field}.add"), &message.add);
        let names = message.remove.iter().enumerate();
        let remove = names
            .filter_map(|(index, name)| reader.read_name(format!("{field}.remove[{index}]"), name))
            .collect();
        Some(Box::new(Self { remove, set, add }))
    }

    /// The fields they change.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let given = self.set.iter().chain(&self.add).map(|(name, _)| name);
        self.remove.iter().chain(given)
    }
}

struct Reader<'c> {
    check: &'c mut Checker,
    direction: Direction,
    /// The names so far.
    named: Vec<HeaderName>,
}

impl Reader<'_> {
    fn read_all(
        &mut self,
        field: &str,
        headers: &[v1::Header],
    ) -> Box<[(HeaderName, HeaderValue)]> {
        let mut read = Vec::with_capacity(headers.len());
        for (index, header) in headers.iter().enumerate() {
            let name = self.read_name(format!("{field}[{index}].name"), &header.name);
            let value = read_value(&header.value);
            let value = self.check.take(|| format!("{field}[{index}].value"), value);
            read.extend(name.zip(value));
        }
        read.into()
    }

    fn read_name(&mut self, field: String, text: &str) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(text.as_bytes());
        let Some(name) = name.ok().filter(|_| text.len() <= MAX_NAME) else {
            let shown: String = text.chars().take(MAX_NAME).collect();
            self.check.fault(
                field,
                format!("\"{shown}\" is not a header field name of 1 to {MAX_NAME} characters"),
            );
            return None;
        };
        if let Some(why) = self.direction.refuses(&name) {
            self.check.fault(field, format!("{name} {why}"));
            return None;
        }
        if self.named.contains(&name) {
            self.check
                .fault(field, format!("names {name} a second time: keep one"));
            return None;
        }
        self.named.push(name.clone());
        Some(name)
    }
}

/// Reads a value. What is told of it never shows it: it can be a credential.
fn read_value(text: &str) -> Result<HeaderValue, String> {
    if text.is_empty() {
        return Err("is empty: give a value, or name the field in `remove`".into());
    }
    if text.len() > MAX_VALUE {
        return Err(format!("must be at most {MAX_VALUE} bytes long"));
    }
    if text.trim_matches([' ', '\t']).len() != text.len() {
        return Err("begins or ends with a blank: take it out".into());
    }
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.is_ascii())
        .ok_or_else(|| {
            "has a character that a header field cannot carry: use printable ASCII".into()
        })
}

#[cfg(test)]
mod tests;
