//! The protocols a route's clients may change to.

use fleetway_proto::v1;

use crate::error::Checker;

/// Which protocols the clients of a route may change to over HTTP/1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upgrades(Option<Box<[Box<str>]>>);

/// What is allowed where a route does not say.
const DEFAULT: &str = "websocket";
/// The most protocols of a route.
const MAX_PROTOCOLS: usize = 16;
/// The longest name of a protocol.
const MAX_LENGTH: usize = 64;

impl Upgrades {
    /// Whether clients may change to `protocol`, a member of the `Upgrade` field.
    #[must_use]
    pub fn allow(&self, protocol: &str) -> bool {
        match &self.0 {
            None => protocol.eq_ignore_ascii_case(DEFAULT),
            Some(listed) => listed
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(protocol)),
        }
    }
}

pub(super) fn read(check: &mut Checker, message: Option<v1::Upgrades>) -> Upgrades {
    let Some(message) = message else {
        return Upgrades(None);
    };
    let field = "forward.upgrades.protocols";
    if message.protocols.len() > MAX_PROTOCOLS {
        check.fault(field, format!("has more than {MAX_PROTOCOLS} members"));
    }
    let mut protocols: Vec<Box<str>> = Vec::with_capacity(message.protocols.len());
    for (index, protocol) in message.protocols.into_iter().enumerate() {
        let fault = if !is_protocol(&protocol) {
            "is not a protocol's name, such as \"websocket\""
        } else if is_http(&protocol) {
            "would hide the requests from the routes: HTTP cannot be changed to"
        } else if protocols.iter().any(|p| p.eq_ignore_ascii_case(&protocol)) {
            "is listed twice"
        } else {
            protocols.push(protocol.into());
            continue;
        };
        check.fault(
            format!("{field}[{index}]"),
            format!("\"{protocol}\" {fault}"),
        );
    }
    Upgrades(Some(protocols.into()))
}

/// `protocol-name [ "/" protocol-version ]` (RFC 9110 section 7.8).
fn is_protocol(text: &str) -> bool {
    let is_token = |part: &str| http::HeaderName::from_bytes(part.as_bytes()).is_ok();
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    text.len() <= MAX_LENGTH && is_token(name) && is_token(version)
}

/// HTTP itself, of whatever version, under whatever name: the requests in such a tunnel would be
/// the upstream's alone to check.
fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["http", "h2c", "h2", "h3"]
        .iter()
        .any(|http| name.eq_ignore_ascii_case(http))
}
