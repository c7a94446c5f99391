//! Tunnels over a stream of HTTP/2: CONNECT, and the extended CONNECT that stands for an upgrade
//! there (RFC 8441).

use std::rc::Rc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use super::streams::Open;
use crate::{
    http::{Connection, ResponseBody},
    http1::Switched,
};

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// A stream that is to become a tunnel, if its request is answered so.
pub(super) struct Asked {
    stream: OnUpgrade,
    /// It was an extended CONNECT.
    extended: bool,
}

/// What a request with CONNECT asks for; nothing of any other. An extended one is made the upgrade
/// it stands for, so that routes take it as they do over HTTP/1.1.
pub(super) fn asked(
    request: &mut Request<Incoming>,
    connection: &Connection,
) -> Option<Box<Asked>> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let stream = hyper::upgrade::on(&mut *request);
    let protocol = request.extensions_mut().remove::<Protocol>();
    let extended = protocol.is_some();
    if let Some(protocol) = protocol {
        *request.method_mut() = Method::GET;
        // RFC 8441 section 5: HTTP/1.1 has a key where HTTP/2 has none.
        let key = connection.local.random_id().to_be_bytes();
        let fields = request.headers_mut();
        // One that is not a value is none that a route allows.
        if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
            fields.insert(header::CONNECTION, UPGRADE);
            fields.insert(header::UPGRADE, protocol);
        }
        if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) {
            fields.insert(header::SEC_WEBSOCKET_KEY, key);
        }
    }
    Some(Box::new(Asked { stream, extended }))
}

impl Asked {
    /// Makes of the answer the one the client gets, and has the tunnel run if there is to be one;
    /// `open` says that the stream is.
    pub(super) fn settle(
        self,
        response: Response<ResponseBody>,
        connection: Rc<Connection>,
        open: Open,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let ResponseBody::Tunnel(tunnel) = body else {
            // To the client, a success would be a tunnel.
            if parts.status.is_success() {
                let text = Bytes::from_static(b"the upstream did not change the protocol\n");
                let mut response = Response::new(ResponseBody::full(text));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                return response;
            }
            return Response::from_parts(parts, body);
        };
        if self.extended {
            parts.status = StatusCode::OK;
            for name in [
                header::CONNECTION,
                header::UPGRADE,
                header::SEC_WEBSOCKET_ACCEPT,
                HeaderName::from_static("keep-alive"),
            ] {
                parts.headers.remove(name);
            }
        }
        tokio::task::spawn_local(async move {
            if let Ok(stream) = self.stream.await {
                let client = Switched {
                    io: TokioIo::new(stream),
                    read: Bytes::new(),
                };
                tunnel.run(&connection, client).await;
            }
            drop(open);
        });
        Response::from_parts(parts, ResponseBody::Full(None))
    }
}
