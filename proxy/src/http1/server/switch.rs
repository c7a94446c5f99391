//! Leaves a connection to another protocol (RFC 9110 sections 7.8 and 9.3.6).

use std::rc::Rc;

use http::StatusCode;
use http::response::Parts;
use tokio::io::{AsyncRead, AsyncWrite};

use super::shared::Shared;
use super::{Asked, ConnectionError, Server};
use crate::http1::Switched;
use crate::http1::head::{connection_tokens, put_fields, put_status_line};
use crate::http1::outbox;

impl Asked {
    /// Whether this status is the end of HTTP on the connection: what it was asked for.
    pub(super) fn is_switched_by(self, status: StatusCode) -> bool {
        (self.upgrade && status == StatusCode::SWITCHING_PROTOCOLS)
            || (self.connect && status.is_success())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Server<'_, I> {
    /// Queues the head that ends HTTP. It has no framing fields, as it has no body.
    pub(super) fn put_switch(&self, parts: &Parts) -> Result<(), ConnectionError> {
        self.shared.begin_final();
        let mut state = self.shared.state.borrow_mut();
        // What is left of the request would be taken for the other protocol.
        if state.failed || !state.decoder.is_done() {
            return Err(ConnectionError::Switch);
        }
        let out = state.write.flat();
        put_status_line(out, parts.status);
        let present = put_fields(out, &parts.headers, false);
        connection_tokens(out, &parts.headers, present, None);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// The transport and what was read behind the request, from the last one who holds them.
pub(super) fn take<I: AsyncRead + AsyncWrite + Unpin>(
    shared: Rc<Shared<I>>,
) -> Option<Switched<I>> {
    if shared.state.borrow().posted {
        // Of an earlier response, and written with this one: it need not be held any more.
        outbox::deliver();
    }
    let mut state = Rc::into_inner(shared)?.state.into_inner();
    let read = state.read.bytes.split().freeze();
    Some(Switched { io: state.io, read })
}
