//! The proof that a server took a WebSocket handshake for one (RFC 6455 section 4.2.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The name of the protocol in `Upgrade`, in any case.
pub(crate) const NAME: &str = "websocket";

/// What `Sec-WebSocket-Accept` is to be for a `Sec-WebSocket-Key`.
pub(crate) fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    STANDARD.encode(hash)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_proof_is_that_of_rfc_6455() {
        let accept = super::accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
