//! HTTP/2 on a connection: a task for it, and one for each of its streams.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use fleetway_api::HttpListener;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, response::Parts,
};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;

use super::{
    detect::Rewound,
    gather::Gathered,
    http::BoxError,
    meter::{Bounds, Metered},
    streams::{Open, Streams},
    tunnels::Asked,
};
use crate::{
    clock,
    date::date,
    http::{
        Allowed, Connection, Downstream, Overdue, ResponseBody, exchange,
        remove_connection_specific,
    },
    http1::Switched,
    http2::{Answer, Duplex, RequestBody, Sending, Server, ServerConfig, ServerError},
    relay::Side,
    telemetry::Flood,
};

pub(super) async fn http2<W: Side + 'static>(
    io: Rewound<W>,
    connection: Rc<Connection>,
    settings: &HttpListener,
    drain: CancellationToken,
) -> Result<(), BoxError> {
    let limits = &settings.limits;
    let bounds = Bounds {
        header_bytes: limits.header_bytes,
        header_timeout: limits.header_timeout,
    };
    let (io, verdict) = Metered::new(io, &bounds);
    let streams = Rc::new(Streams::new(limits.requests_per_connection));
    let io = Gathered::new(io, streams.clone());
    let config = ServerConfig {
        max_concurrent_streams: limits.concurrent_streams,
        max_header_list_size: limits.header_bytes,
    };
    let idle = settings.idle_timeout;
    let open = streams.clone();
    let mut server = Server::new(io, &config, move || open.are_any());
    let mut begin = |request, answer| {
        let stream = Stream {
            connection: connection.clone(),
            unread: idle,
            _open: streams.open(),
        };
        // Boxed: the runtime moves it from hand to hand.
        let stream = Box::pin(stream.serve(request, answer));
        tokio::task::spawn_local(clock::turns(stream));
    };
    let served = tokio::select! {
        served = server.run(&mut begin) => served,
        () = async {
            tokio::select! {
                () = drain.cancelled() => {}
                () = streams.idle(idle) => {}
                () = streams.spent() => {}
            }
        } => {
            server.drain();
            tokio::select! {
                served = server.run(&mut begin) => served,
                // A client that never began, or does not end, has that time once more.
                () = async {
                    tokio::time::sleep(idle).await;
                    streams.idle(idle).await;
                } => Ok(()),
            }
        }
    };
    served.map_err(|error| {
        let Some(flood) = verdict.get().or_else(|| found_by_library(&error)) else {
            return error.into();
        };
        let view = connection.entrance.view(&connection.local);
        let shard = view.listener.counters.shard(connection.local.worker);
        shard.http2_floods.ended(flood);
        flood.into()
    })
}

/// Whether the library told the client to calm down (RFC 9113 section 10.5).
fn found_by_library(error: &ServerError) -> Option<Flood> {
    let ServerError::Http2(error) = error else {
        return None;
    };
    let calm = error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
    calm.then_some(Flood::Requests)
}

/// One stream: a request and its response, or a tunnel.
struct Stream {
    connection: Rc<Connection>,
    /// How long the client has for a response that was made here.
    unread: Duration,
    /// Counted as open until the response has ended.
    _open: Open,
}

impl Stream {
    /// Serves it to its end. One whose response the client does not read in time is dropped, which
    /// resets it.
    async fn serve(self, request: Request<RecvStream>, answer: SendResponse<Bytes>) {
        let answer = Answer::new(answer);
        let (mut head, receiving) = request.into_parts();
        let asked = Asked::of(&mut head, &self.connection);
        let (body, receiving) = match asked {
            None => (RequestBody::new(receiving, &head.headers, &answer), None),
            Some(_) if has_content(&head.headers) => {
                // RFC 9113 section 8.5: what follows is the tunnel's.
                return answer.reset(Reason::PROTOCOL_ERROR);
            }
            Some(asked) => (RequestBody::none(&answer), Some((asked, receiving))),
        };
        let to_head = head.method == Method::HEAD;
        let request = Request::from_parts(head, Downstream::Http2(body));
        let response = {
            let mut exchanging = pin!(exchange(self.connection.clone(), request));
            let answered = poll_fn(|cx| match answer.poll_reset(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => exchanging.as_mut().poll(cx).map(Some),
            });
            match answered.await {
                Some(response) => response,
                // The client does not wait for it.
                None => return,
            }
        };
        let (mut head, body) = response.into_parts();
        match (body, receiving) {
            (ResponseBody::Tunnel(mut tunnel), Some((asked, receiving))) => {
                asked.settle(&mut head, &mut tunnel);
                // What follows is no content (RFC 9110 section 9.3.6).
                head.headers.remove(header::CONTENT_LENGTH);
                complete(&mut head.headers, None);
                if let Ok(sending) = answer.send(Response::from_parts(head, ()), false) {
                    let client = Switched {
                        io: Duplex::new(sending, receiving),
                        read: Bytes::new(),
                    };
                    tunnel.run(&self.connection, client).await;
                }
            }
            (body, receiving) => {
                drop(receiving);
                self.send(head, body, &answer, to_head).await;
            }
        }
    }

    /// Sends the response, `to_head` without its content.
    async fn send(&self, mut head: Parts, body: ResponseBody, answer: &Answer, to_head: bool) {
        let length = match body.is_end_stream() {
            true => None,
            false => body.size_hint().exact(),
        };
        // RFC 9110 section 6.4.1. The codec of HTTP/1 sees to it by itself, and to the length below.
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        let ended = to_head || body.is_end_stream() || none.contains(&head.status);
        complete(&mut head.headers, length);
        if head.status == StatusCode::NO_CONTENT {
            // RFC 9110 section 8.6.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let sending = match answer.send(Response::from_parts(head, ()), ended) {
            Ok(sending) => sending,
            Err(error) => return tracing::debug!(%error, "a response was not sent"),
        };
        if ended {
            return;
        }
        let overdue = Overdue::default();
        let _allowed = self.watch(&overdue, &body);
        let mut sending = Sending::new(sending, body, false);
        let sending = poll_fn(|cx| match sending.poll(cx, Reason::INTERNAL_ERROR) {
            Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
            Poll::Pending => sending.poll_reset(cx).map(|()| false),
        });
        if overdue.end(sending).await != Some(true) {
            tracing::debug!(peer = %self.connection.peer, "a response was cut");
        }
    }

    /// Has the clocks of a response heeded. One that was made here has none of its own.
    fn watch(&self, overdue: &Overdue, body: &ResponseBody) -> Option<Allowed> {
        if body.is_made() {
            return Some(overdue.allow(self.unread));
        }
        body.watched_by(overdue);
        None
    }
}

/// Whether a request says that it has content.
fn has_content(fields: &HeaderMap) -> bool {
    let length = fields.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0")
}

/// Makes the fields of a response those that HTTP/2 has: nothing of a connection, a date, and the
/// length where it is known.
fn complete(fields: &mut HeaderMap, length: Option<u64>) {
    remove_connection_specific(fields);
    fields.entry(header::DATE).or_insert_with(date);
    if let Some(length) = length {
        let entry = fields.entry(header::CONTENT_LENGTH);
        entry.or_insert_with(|| HeaderValue::from(length));
    }
}
