//! One request to an endpoint that chooses its version of HTTP itself, in the TLS handshake (ALPN,
//! RFC 7301), for each connection anew.
//!
//! What an endpoint chose last is remembered. Where that was HTTP/1.1, requests open connections
//! side by side; where it was HTTP/2, or nothing is known yet, they wait for one. Either way what
//! the endpoint chooses then is what is spoken.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Response, header, request::Parts};
use http_body::Body;

use super::{
    BoxError, Notify, To, UpstreamBody, UpstreamError,
    connect::connect,
    http1::{self, Kept},
    http2,
    pool::Key,
};
use crate::{proxy_protocol::Addresses, tls::Speak};

/// How long a choice is remembered without a request.
const REMEMBER: Duration = Duration::from_secs(600);
/// How often an endpoint may change its mind within a request.
const CHANGES: usize = 3;

/// What endpoints chose last.
#[derive(Debug, Default)]
pub(super) struct Choices(RefCell<HashMap<Key, Choice, foldhash::fast::RandomState>>);

#[derive(Debug)]
struct Choice {
    http2: bool,
    used: Instant,
}

impl Choices {
    /// Notes what an endpoint chose.
    pub(super) fn note(&self, key: Key, http2: bool) {
        let used = Instant::now();
        self.0.borrow_mut().insert(key, Choice { http2, used });
    }

    /// Whether an endpoint chose HTTP/1.1 last.
    fn is_http1(&self, key: Key) -> bool {
        let mut choices = self.0.borrow_mut();
        let Some(choice) = choices.get_mut(&key) else {
            return false;
        };
        choice.used = Instant::now();
        !choice.http2
    }

    /// Forgets what was not asked for in a long time.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let is_used = |_: &Key, choice: &mut Choice| now - choice.used < REMEMBER;
        self.0.borrow_mut().retain(is_used);
    }
}

/// Sends a request, of `client`, over a connection there is or a new one.
///
/// # Errors
/// When there is no connection or no response.
pub(super) async fn send<B, N>(
    to: To<'_>,
    client: impl FnOnce() -> Addresses,
    head: &mut Parts,
    mut body: B,
    notify: N,
) -> Result<Response<UpstreamBody<B, N>>, UpstreamError>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
    N: Notify,
{
    if head.headers.contains_key(header::UPGRADE) {
        // It takes a connection to itself anyhow, which any server can switch.
        let response = http1::send(to, client, head, body, notify).await?;
        return Ok(response.map(UpstreamBody::Http1));
    }
    let who = client();
    for _ in 0..CHANGES {
        let mut opened = None;
        if !to.pool.choices.is_http1(to.key()) || to.pool.http2.has(to.key()) {
            match http2::send(to, head, body, &notify).await? {
                http2::Sent::Answered(response) => return Ok(response),
                http2::Sent::SpeaksHttp1(back, stream) => (body, opened) = (back, stream),
            }
        }
        let stream = match opened {
            Some(stream) => stream,
            None => {
                match http1::over_kept(to, head, body, &notify).await? {
                    Kept::Answered(response) => return Ok(response.map(UpstreamBody::Http1)),
                    Kept::Left(back) => body = back,
                }
                let connecting = connect(to.cluster, to.worker, to.endpoint, Speak::Http, || who);
                let stream = connecting.await?;
                to.pool.choices.note(to.key(), stream.agreed_on_http2());
                if stream.agreed_on_http2() {
                    http2::adopt(to, stream).await?;
                    continue;
                }
                stream
            }
        };
        let response = http1::over(to, stream, head, body, notify).await?;
        return Ok(response.map(UpstreamBody::Http1));
    }
    Err(UpstreamError::Broken(
        to.endpoint,
        "it does not keep to a version of HTTP".into(),
    ))
}
