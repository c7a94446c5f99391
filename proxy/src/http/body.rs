//! Bodies as they pass through: frame by frame, without copies.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fleetway_policy_runtime::Buffered;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::Failure;
use super::headers::remove_hop_by_hop;
use super::policies::{Held, Policed, Transformed};
use super::record::Record;
use super::rules::TrailerRules;
use super::screen::screen_trailers;
use super::tunnel::Tunnel;
use super::watchdog::{Activity, Expired, Overdue, Watchdog};
use crate::{
    http1::{self, Piped},
    http2,
    relay::pipe::Pipe,
    upstream::{InFlight, Notify, UpstreamBody},
};

/// A request's body as the client sends it.
#[derive(Debug)]
pub enum Downstream {
    /// Over HTTP/1.
    Http1(http1::RequestBody),
    /// Over HTTP/2.
    Http2(http2::RequestBody),
    /// Read as a whole.
    Held(Box<Held>),
    /// Through a policy.
    Transformed(Box<Transformed>),
}

/// Where interim responses go.
#[derive(Debug, Clone)]
pub enum ToClient {
    /// Nowhere.
    Nobody,
    /// To a client over HTTP/1.1.
    Http1(http1::Interim),
    /// To one over HTTP/2.
    Http2(http2::Interim),
}

impl Notify for ToClient {
    fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut headers = headers.clone();
        remove_hop_by_hop(&mut headers);
        match self {
            Self::Nobody => {}
            Self::Http1(client) => {
                // A client that takes none, or is gone, goes without.
                let _ = client.send(status, &headers);
            }
            Self::Http2(client) => client.send(status, headers),
        }
    }
}

impl Downstream {
    /// Where interim responses to this request go.
    pub(super) fn interim(&self) -> ToClient {
        match self {
            Self::Http1(body) => ToClient::Http1(body.interim()),
            Self::Http2(body) => ToClient::Http2(body.interim()),
            Self::Held(held) => held.interim(),
            Self::Transformed(transformed) => transformed.source.interim(),
        }
    }
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The other side of an HTTP/1 connection broke off or framed it wrongly.
    #[error("{0}")]
    Http1(#[from] http1::BodyError),
    /// The HTTP/2 stream was reset.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// It is longer than the route takes.
    #[error("the request body is larger than its route takes")]
    TooLarge,
    /// The upstream broke off.
    #[error("the upstream broke off: {0}")]
    Upstream(Box<dyn std::error::Error + Send + Sync>),
    /// A clock of the route ran out.
    #[error("the route's time-out ran out")]
    Timeout(Expired),
    /// A policy failed while it passed.
    #[error("a policy failed")]
    Policy,
}

impl BodyError {
    /// As the access log has it.
    pub(super) const fn cause(&self) -> &'static str {
        match self {
            Self::Timeout(expired) => expired.cause(),
            Self::Policy => "policy_failure",
            _ => "upstream_reset",
        }
    }
}

impl Body for Downstream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http1),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http2),
            Self::Held(held) => Poll::Ready(held.next().map(Ok)),
            Self::Transformed(body) => {
                let Transformed { source, through } = &mut **body;
                through.poll_frame(Pin::new(source), cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Held(held) => held.is_end(),
            Self::Transformed(body) => body.through.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Held(held) => held.size_hint(),
            Self::Transformed(_) => SizeHint::default(),
        }
    }
}

/// A request's body on its way upstream.
#[derive(Debug)]
pub struct RequestBody {
    inner: Downstream,
    activity: Activity,
    /// How many more bytes the route takes; `None` for no limit.
    left: Option<u32>,
    /// What else its trailers may not have.
    rules: Option<TrailerRules>,
}

impl RequestBody {
    /// The body of a request watched by `watchdog`, of at most `most` bytes, with trailers under
    /// `rules`.
    ///
    /// # Errors
    /// When it says beforehand that it is longer.
    pub(super) fn new(
        inner: Downstream,
        watchdog: &Watchdog,
        most: Option<u32>,
        rules: Option<TrailerRules>,
    ) -> Result<Self, Failure> {
        if most.is_some_and(|most| inner.size_hint().lower() > u64::from(most)) {
            return Err(Failure::BodyTooLarge);
        }
        Ok(Self {
            inner,
            activity: watchdog.activity(),
            left: most,
            rules,
        })
    }

    /// The same body from its beginning, where none of it is lost: there is none, or it is held as a
    /// whole. What has come of it is counted anew.
    pub(super) fn again(&self) -> Option<Self> {
        let held = match &self.inner {
            Downstream::Held(held) => held.clone(),
            other if other.is_end_stream() => {
                Box::new(Held::new(Buffered::default(), other.interim()))
            }
            _ => return None,
        };
        self.activity.receive_anew();
        Some(Self {
            inner: Downstream::Held(held),
            activity: self.activity.clone(),
            left: self.left,
            rules: self.rules.clone(),
        })
    }

    /// Whether the head says that nothing follows while the stream goes on, as it can over HTTP/2.
    /// What follows can still be against that.
    pub(super) fn is_to_end(&self) -> bool {
        matches!(self.inner, Downstream::Http2(_))
            && self.inner.size_hint().exact() == Some(0)
            && !self.inner.is_end_stream()
    }

    /// Waits for the end of a body that is to end. Trailers of it frame nothing and are left out.
    ///
    /// # Errors
    /// When something came after all: the request is malformed, and is not to be passed on (RFC
    /// 9113 section 8.1.1).
    pub(super) async fn end(&mut self) -> Result<(), BodyError> {
        while let Some(frame) = self.frame().await {
            frame?;
        }
        Ok(())
    }

    /// Whether the route takes `some` more bytes.
    fn takes(&mut self, some: usize) -> bool {
        let Some(left) = &mut self.left else {
            return true;
        };
        let rest = u32::try_from(some)
            .ok()
            .and_then(|some| left.checked_sub(some));
        *left = rest.unwrap_or(0);
        rest.is_some()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        this.activity.touch();
        if let Some(Ok(frame)) = &mut frame {
            if let Some(data) = frame.data_ref() {
                this.activity.receive(data.len());
            }
            if let Some(trailers) = frame.trailers_mut() {
                screen_trailers(trailers);
                if let Some(rules) = &this.rules {
                    rules.screen(trailers);
                }
            } else if let Some(data) = frame.data_ref()
                && !this.takes(data.len())
            {
                this.activity.set_too_large();
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body on its way to the client.
#[derive(Debug)]
pub enum ResponseBody {
    /// Made here.
    Full(Option<Bytes>),
    /// Passed on from an upstream.
    Forwarded(Box<Forwarded>),
    /// None: the response ends HTTP, and this is the other side of what follows.
    Tunnel(Box<Tunnel>),
    /// Made here, and taken down in the access log once it has ended.
    Recorded(Box<Recorded>),
    /// Under policies.
    Policed(Box<Policed>),
}

/// A body made here that is taken down.
#[derive(Debug)]
pub struct Recorded {
    bytes: Option<Bytes>,
    record: Record,
    /// Nothing was to be sent, or all of it was taken.
    whole: bool,
}

/// A body passed on from an upstream, under the clocks of its request.
#[derive(Debug)]
pub struct Forwarded {
    body: UpstreamBody<RequestBody, ToClient>,
    watchdog: Rc<RefCell<Watchdog>>,
    activity: Activity,
    /// Counted as in flight until the body has ended.
    in_flight: InFlight,
    record: Option<Record>,
    ended: bool,
}

impl Forwarded {
    /// Ready once one of its clocks ran out.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let expired = ready!(self.watchdog.borrow_mut().poll_expired(cx));
        if let Some(record) = &mut self.record {
            record.expired(expired);
        }
        Poll::Ready(BodyError::Timeout(expired))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.poll_expired(cx).map(|error| Some(Err(error)));
        };
        self.activity.touch();
        let trailers = frame.as_ref().and_then(|frame| match frame {
            Ok(frame) => frame.trailers_ref(),
            Err(_) => None,
        });
        self.ended |= frame.is_none() || trailers.is_some();
        if let Some(record) = &mut self.record {
            match (&frame, trailers) {
                (_, Some(fields)) => record.fields(fields),
                (Some(Ok(frame)), None) => record.sent(frame.data_ref().map_or(0, Bytes::len)),
                (Some(Err(_)), None) => record.cut("upstream_reset"),
                (None, None) => {}
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
    }

    fn poll_pipe(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyError>> {
        let Poll::Ready(moved) = Pin::new(&mut self.body).poll_pipe(cx, pipe) else {
            return self.poll_expired(cx).map(Err);
        };
        self.activity.touch();
        if let Some(record) = &mut self.record {
            match &moved {
                Ok(some) => record.sent(*some),
                Err(_) => record.cut("upstream_reset"),
            }
        }
        Poll::Ready(moved.map_err(BodyError::Upstream))
    }
}

/// By the last byte, or where it breaks off.
impl Drop for Forwarded {
    fn drop(&mut self) {
        let whole = self.ended || self.body.is_end_stream();
        let at = match whole {
            true => self.activity.last(),
            false => Instant::now(),
        };
        self.in_flight.end(at);
        if let Some(record) = &mut self.record {
            record.end(at, whole);
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.record.end(Instant::now(), self.whole);
    }
}

impl ResponseBody {
    /// A body made here.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }

    pub(super) fn forwarded(
        body: UpstreamBody<RequestBody, ToClient>,
        watchdog: Watchdog,
        in_flight: InFlight,
    ) -> Self {
        let activity = watchdog.activity();
        Self::Forwarded(Box::new(Forwarded {
            body,
            watchdog: Rc::new(RefCell::new(watchdog)),
            activity,
            in_flight,
            record: None,
            ended: false,
        }))
    }

    /// Has it taken down by `record`, to its end. `bodiless` tells that nothing of it is sent.
    pub(super) fn recorded(self, mut record: Record, bodiless: bool) -> Self {
        match self {
            Self::Full(bytes) if record.is_logged() => Self::Recorded(Box::new(Recorded {
                whole: bodiless || bytes.is_none(),
                bytes,
                record,
            })),
            Self::Forwarded(mut forwarded) => {
                forwarded.record = Some(record);
                Self::Forwarded(forwarded)
            }
            Self::Tunnel(mut tunnel) => {
                record.became_tunnel();
                tunnel.record = Some(record);
                Self::Tunnel(tunnel)
            }
            Self::Policed(mut policed) => {
                policed.record(record);
                Self::Policed(policed)
            }
            // Its end is here.
            other => other,
        }
    }

    /// Whether it was made here and has bytes.
    #[must_use]
    pub fn is_made(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_some(),
            Self::Recorded(recorded) => recorded.bytes.is_some(),
            Self::Policed(policed) => policed.source().is_none_or(Self::is_made),
            Self::Forwarded(_) | Self::Tunnel(_) => false,
        }
    }

    /// Has its clocks heeded though the client may not read. What was made here has none.
    pub fn watched_by(&self, overdue: &Overdue) {
        match self {
            Self::Forwarded(forwarded) => overdue.watch(&forwarded.watchdog),
            Self::Policed(policed) => {
                if let Some(source) = policed.source() {
                    source.watched_by(overdue);
                }
            }
            Self::Full(_) | Self::Tunnel(_) | Self::Recorded(_) => {}
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Tunnel(_) => Poll::Ready(None),
            Self::Forwarded(forwarded) => forwarded.poll_frame(cx),
            Self::Policed(policed) => policed.poll_frame(cx),
            Self::Recorded(recorded) => {
                recorded.whole = true;
                let bytes = recorded.bytes.take();
                recorded.record.sent(bytes.as_ref().map_or(0, Bytes::len));
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Tunnel(_) => true,
            Self::Forwarded(forwarded) => forwarded.body.is_end_stream(),
            Self::Policed(policed) => policed.is_end(),
            Self::Recorded(recorded) => recorded.bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Recorded(recorded) => SizeHint::with_exact(
                recorded
                    .bytes
                    .as_ref()
                    .map_or(0, |bytes| bytes.len() as u64),
            ),
            Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Forwarded(forwarded) => forwarded.body.size_hint(),
            Self::Policed(policed) => policed.size_hint(),
        }
    }
}

impl Piped for ResponseBody {
    fn is_piped(&self) -> bool {
        matches!(self, Self::Forwarded(forwarded) if forwarded.body.is_piped())
    }

    fn poll_pipe(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyError>> {
        match self.get_mut() {
            Self::Forwarded(forwarded) => forwarded.poll_pipe(cx, pipe),
            _ => Poll::Ready(Ok(0)),
        }
    }
}
