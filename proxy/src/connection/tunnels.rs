//! Tunnels over a stream of HTTP/2: CONNECT, and the extended CONNECT that stands for an upgrade
//! there (RFC 8441).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use h2::ext::Protocol;
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, response};

use crate::http::{Connection, ToTunnel, Tunnel};

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// What a request with CONNECT asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// It was an extended CONNECT.
    extended: bool,
}

impl Asked {
    /// What `request` asks for with CONNECT; nothing of any other. An extended one is made the upgrade
    /// it stands for, so that routes take it as they do over HTTP/1.1.
    pub(super) fn of(request: &mut Parts, connection: &Connection) -> Option<Self> {
        if request.method != Method::CONNECT {
            return None;
        }
        let protocol = request.extensions.remove::<Protocol>();
        request.extensions.insert(ToTunnel);
        let extended = protocol.is_some();
        if let Some(protocol) = protocol {
            request.method = Method::GET;
            // RFC 8441 section 5: HTTP/1.1 has a key where HTTP/2 has none.
            let key = connection.local.random_id().to_be_bytes();
            let fields = &mut request.headers;
            // One that is not a value is none that a route allows.
            if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
                fields.insert(header::CONNECTION, UPGRADE);
                fields.insert(header::UPGRADE, protocol);
            }
            if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) {
                fields.insert(header::SEC_WEBSOCKET_KEY, key);
            }
        }
        Some(Self { extended })
    }

    /// Makes of the answer that begins `tunnel` the one the client gets.
    pub(super) fn settle(self, head: &mut response::Parts, tunnel: &mut Tunnel) {
        if self.extended {
            head.status = StatusCode::OK;
            tunnel.answered(head.status);
            for name in [
                header::CONNECTION,
                header::UPGRADE,
                header::SEC_WEBSOCKET_ACCEPT,
                HeaderName::from_static("keep-alive"),
            ] {
                head.headers.remove(name);
            }
        }
    }
}
