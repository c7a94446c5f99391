//! A request as it comes on a stream, and the interim responses to it.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use super::Receiving;

/// The most bytes of interim responses to one request. They are sent whether the client reads or not.
const MAX_INTERIM: usize = 64 * 1024;

/// Where the response to a request goes.
#[derive(Debug)]
pub struct Answer {
    stream: RefCell<SendResponse<Bytes>>,
    /// How many more bytes of interim responses there may be.
    left: Cell<usize>,
    /// A 100 was sent.
    continued: Cell<bool>,
    /// The response was sent, or the stream refused.
    answered: Cell<bool>,
}

impl Answer {
    /// None was sent.
    #[must_use]
    pub fn new(stream: SendResponse<Bytes>) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(stream),
            left: Cell::new(MAX_INTERIM),
            continued: Cell::new(false),
            answered: Cell::new(false),
        })
    }

    /// Sends the head of the response, and the end with it if it is `ended`.
    ///
    /// # Errors
    /// When the stream is gone, or the head has what HTTP/2 does not take; the stream is reset then.
    pub fn send(&self, head: Response<()>, ended: bool) -> Result<SendStream<Bytes>, h2::Error> {
        self.answered.set(true);
        let mut stream = self.stream.borrow_mut();
        let sent = stream.send_response(head, ended);
        if sent.is_err() {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        sent
    }

    /// Refuses the stream, without a response.
    pub fn reset(&self, reason: Reason) {
        self.answered.set(true);
        self.stream.borrow_mut().send_reset(reason);
    }

    /// Ready once the client has reset the stream, or it is gone with its connection. To be asked before
    /// the response is sent.
    pub fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.borrow_mut().poll_reset(cx).map(|_| ())
    }
}

/// Sends interim responses to one request (RFC 9113 section 8.1).
#[derive(Debug, Clone)]
pub struct Interim {
    /// Weak, so that a handle that is kept does not keep the stream open.
    answer: Weak<Answer>,
}

impl Interim {
    /// Sends one. What is none, a second 100, and what the response has overtaken is not sent.
    pub fn send(&self, status: StatusCode, headers: HeaderMap) {
        let answer = self.answer.upgrade();
        let Some(answer) = answer.filter(|answer| !answer.answered.get()) else {
            return;
        };
        let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
        if !is_interim || status == StatusCode::CONTINUE && answer.continued.replace(true) {
            return;
        }
        // As RFC 9113 section 6.5.2 counts them.
        let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len() + 32
        };
        let size = headers.iter().map(size).sum::<usize>() + 32;
        let Some(left) = answer.left.get().checked_sub(size) else {
            return;
        };
        answer.left.set(left);
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        // Where the stream is gone, so is the client.
        let _ = answer.stream.borrow_mut().send_informational(head);
    }
}

/// The body of a request. If the client waits for a 100 (RFC 9110 section 10.1.1), its first poll
/// sends it.
#[derive(Debug)]
pub struct RequestBody {
    /// `None` where there is none.
    receiving: Option<Receiving>,
    /// How many more bytes there are, if that was said.
    left: Option<u64>,
    interim: Interim,
    expects: bool,
}

impl RequestBody {
    /// What comes on the stream of `answer` after `headers`.
    #[must_use]
    pub fn new(stream: RecvStream, headers: &HeaderMap, answer: &Rc<Answer>) -> Self {
        let receiving = Receiving::new(stream);
        if receiving.has_ended() {
            return Self::none(answer);
        }
        let expects = headers.get(header::EXPECT);
        Self {
            left: declared_length(headers),
            expects: expects
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
            interim: Interim {
                answer: Rc::downgrade(answer),
            },
            receiving: Some(receiving),
        }
    }

    /// No body.
    #[must_use]
    pub fn none(answer: &Rc<Answer>) -> Self {
        Self {
            receiving: None,
            left: Some(0),
            interim: Interim {
                answer: Rc::downgrade(answer),
            },
            expects: false,
        }
    }

    /// Where interim responses go.
    #[must_use]
    pub fn interim(&self) -> Interim {
        self.interim.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        let Some(receiving) = &mut this.receiving else {
            return Poll::Ready(None);
        };
        let frame = receiving.poll_frame(cx);
        // Once some of it is there, no 100 is needed.
        if std::mem::take(&mut this.expects) && frame.is_pending() {
            this.interim.send(StatusCode::CONTINUE, HeaderMap::new());
        }
        let frame = ready!(frame);
        if let (Some(left), Some(Ok(frame))) = (&mut this.left, &frame)
            && let Some(bytes) = frame.data_ref()
        {
            // More than that is against the head, which the library tells.
            *left = left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.receiving.as_ref().is_none_or(Receiving::is_end)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The length that all `Content-Length` fields agree on.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let mut known = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for member in value.to_str().ok()?.split(',') {
            let length = member.trim().parse().ok()?;
            if known.is_some_and(|known| known != length) {
                return None;
            }
            known = Some(length);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_response_has_overtaken_is_not_sent() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let client = async {
            let (mut send, connection) = h2::client::handshake(near).await.unwrap();
            let asked = async {
                let request = http::Request::post("http://a/").body(()).unwrap();
                let (answer, _upload) = send.send_request(request, false).unwrap();
                let mut body = answer.await.unwrap().into_body();
                // An interim response would be taken for trailers that do not end the stream.
                assert_eq!(body.data().await.unwrap().unwrap(), "whole");
                assert!(body.data().await.is_none());
            };
            tokio::select! {
                () = asked => {}
                ended = connection => ended.unwrap(),
            }
        };
        let server = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (_request, stream) = connection.accept().await.unwrap().unwrap();
            let answer = Answer::new(stream);
            let interim = RequestBody::none(&answer).interim();
            let mut sending = answer.send(Response::new(()), false).unwrap();
            interim.send(StatusCode::CONTINUE, HeaderMap::new());
            sending.send_data("whole".into(), true).unwrap();
            while connection.accept().await.is_some() {}
        };
        tokio::join!(client, server);
    }

    #[test]
    fn lengths_that_do_not_agree_are_none() {
        let declared = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    header::CONTENT_LENGTH,
                    http::HeaderValue::from_static(value),
                );
            }
            declared_length(&headers)
        };
        assert_eq!(declared(&[]), None);
        assert_eq!(declared(&["7"]), Some(7));
        assert_eq!(declared(&["7, 7", "7"]), Some(7));
        assert_eq!(declared(&["7", "8"]), None);
        assert_eq!(declared(&["-7"]), None);
        assert_eq!(declared(&[""]), None);
    }
}
