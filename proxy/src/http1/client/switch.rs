//! Whether a 101 is to be believed (RFC 9110 section 7.8).

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, Version};

use crate::http1::head::{ResponseHead, members};
use crate::http1::websocket;

/// Whether `head`, a 101, switches to nothing but what the request's fields asked for, in the
/// words of HTTP/1.1.
pub(super) fn was_asked(request: &HeaderMap, head: &ResponseHead) -> bool {
    let switches = members(&head.headers, &CONNECTION)
        .any(|option| option.eq_ignore_ascii_case(UPGRADE.as_str().as_bytes()));
    let mut protocols = members(&head.headers, &UPGRADE).peekable();
    head.version == Version::HTTP_11
        && switches
        && protocols.peek().is_some()
        && protocols.all(|protocol| {
            members(request, &UPGRADE).any(|asked| asked.eq_ignore_ascii_case(protocol))
        })
}

/// Whether a 101 to a WebSocket handshake has the proof that its server read that handshake (RFC
/// 6455 section 4.1); any other needs none, nor does one without a key.
pub(super) fn is_proven(request: &HeaderMap, head: &ResponseHead) -> bool {
    let is_websocket = members(&head.headers, &UPGRADE)
        .any(|protocol| protocol.eq_ignore_ascii_case(websocket::NAME.as_bytes()));
    let Some(key) = request.get(SEC_WEBSOCKET_KEY).filter(|_| is_websocket) else {
        return true;
    };
    let mut proofs = head.headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let proof = proofs.next().map(|proof| proof.as_bytes().trim_ascii());
    let expected = websocket::accept(key.as_bytes().trim_ascii());
    proofs.next().is_none() && proof == Some(expected.as_bytes())
}
