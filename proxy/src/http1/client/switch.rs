//! Whether a 101 is to be believed (RFC 9110 section 7.8).

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Version};

use crate::http1::head::{ResponseHead, members};

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
