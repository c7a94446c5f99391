//! What is sent on a stream, to either side.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, header};
use http_body::Body;

/// The sending of a body at the pace of who receives it. Dropped before its end, it resets the stream
/// unless something is received on it still.
#[derive(Debug)]
pub struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// Taken from the body, and waiting for room.
    next: Option<Bytes>,
    touched: bool,
    done: bool,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub enum Broken<E> {
    /// The body itself failed.
    Body(E),
    /// Who was to receive it takes no more.
    Stream,
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// `body` on `stream`; `done` if the stream was ended with its head.
    pub const fn new(stream: SendStream<Bytes>, body: B, done: bool) -> Self {
        Self {
            stream,
            body,
            next: None,
            touched: false,
            done,
        }
    }

    /// Whether all was sent, or nothing more can be.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// The body, if nothing was taken from it.
    pub fn into_untouched(self) -> Option<B> {
        (!self.touched).then_some(self.body)
    }

    /// Sends what can be sent; ready once everything is.
    ///
    /// # Errors
    /// When the body fails, for which the stream is reset with `reason`, and when the stream takes no
    /// more.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reason: Reason,
    ) -> Poll<Result<(), Broken<B::Error>>> {
        while !self.done {
            if self.next.is_some() {
                ready!(self.poll_room(cx))?;
            }
            let sent = match self.next.take() {
                Some(mut bytes) => {
                    // No more than there is room for: whoever watches the sending is to see the rest wait.
                    let rest = bytes.split_off(bytes.len().min(self.stream.capacity()));
                    self.done = rest.is_empty() && self.body.is_end_stream();
                    self.next = (!rest.is_empty()).then_some(rest);
                    self.stream.send_data(bytes, self.done)
                }
                None => match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => self.take(frame),
                    Some(Err(error)) => {
                        self.done = true;
                        self.stream.send_reset(reason);
                        return Poll::Ready(Err(Broken::Body(error)));
                    }
                    None => {
                        self.done = true;
                        self.stream.send_data(Bytes::new(), true)
                    }
                },
            };
            if sent.is_err() {
                return Poll::Ready(self.broken());
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the body gave.
    fn take(&mut self, frame: http_body::Frame<Bytes>) -> Result<(), h2::Error> {
        self.touched = true;
        match frame.into_data() {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => {
                // For what is in hand, and no more: a body that takes its time keeps no room from other
                // streams of the connection.
                self.stream.reserve_capacity(bytes.len());
                self.next = Some(bytes);
                Ok(())
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    self.done = true;
                    remove_connection_specific(&mut trailers);
                    self.stream.send_trailers(trailers)
                }
                Err(_) => Ok(()),
            },
        }
    }

    /// Waits until something can be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken<B::Error>>> {
        while self.stream.capacity() == 0 {
            if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(self.broken());
            }
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&mut self) -> Result<(), Broken<B::Error>> {
        self.done = true;
        Err(Broken::Stream)
    }

    /// Ready once the other side has reset the stream, or it is gone with its connection.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(|_| ())
    }
}

/// Removes what HTTP/2 has no place for (RFC 9113 section 8.2.2), with which nothing would be sent.
fn remove_connection_specific(trailers: &mut HeaderMap) {
    let specific = [
        header::CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    // Hardly ever there, so each is not looked up.
    if trailers.keys().any(|name| specific.contains(name)) {
        for name in specific {
            trailers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn};

    use futures_util::stream;
    use http::{HeaderValue, Response};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// What a client with such a window is sent, and whether the sending was done before it gave more room.
    async fn sent(window: u32, frames: Vec<Frame<Bytes>>) -> (Vec<u8>, Option<HeaderMap>, bool) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let early = std::cell::Cell::new(false);
        let done = std::cell::Cell::new(false);
        let client = async {
            let mut client = h2::client::Builder::new();
            let client = client.initial_window_size(window);
            let (mut send, connection) = client.handshake::<_, Bytes>(near).await.unwrap();
            let asked = async {
                let request = http::Request::get("http://a/").body(()).unwrap();
                let (answer, _) = send.send_request(request, true).unwrap();
                let mut body = answer.await.unwrap().into_body();
                let mut all = Vec::new();
                while let Some(bytes) = body.data().await {
                    let bytes = bytes.unwrap();
                    early.set(early.get() || all.is_empty() && done.get());
                    all.extend_from_slice(&bytes);
                    let _ = body.flow_control().release_capacity(bytes.len());
                }
                (all, body.trailers().await.unwrap())
            };
            tokio::select! {
                got = asked => got,
                ended = connection => panic!("{ended:?}"),
            }
        };
        let server = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (_request, mut answer) = connection.accept().await.unwrap().unwrap();
            let stream = answer.send_response(Response::new(()), false).unwrap();
            let frames = frames.into_iter().map(Ok::<_, Infallible>);
            let body = StreamBody::new(stream::iter(frames));
            let mut sending = Sending::new(stream, body, false);
            let sending = async {
                let sent = poll_fn(|cx| sending.poll(cx, Reason::INTERNAL_ERROR)).await;
                assert!(sent.is_ok());
                done.set(true);
            };
            tokio::join!(sending, async {
                while connection.accept().await.is_some() {}
            });
        };
        let ((all, trailers), ()) = tokio::join!(client, server);
        (all, trailers, early.get())
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_not_taken_for_sent() {
        let frame = Frame::data(Bytes::from_static(b"hello"));
        let (all, _, early) = sent(1, vec![frame]).await;
        assert_eq!(all, b"hello");
        assert!(!early);
    }

    #[tokio::test]
    async fn fields_of_a_connection_do_not_cost_the_trailers() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "keep-alive", "connection"] {
            trailers.insert(name, HeaderValue::from_static("5"));
        }
        let frames = vec![
            Frame::data(Bytes::from_static(b"hello")),
            Frame::trailers(trailers),
        ];
        let (all, trailers, _) = sent(100, frames).await;
        assert_eq!(all, b"hello");
        let names: Vec<_> = trailers.unwrap().keys().cloned().collect();
        assert_eq!(names, ["x-sum"]);
    }
}
