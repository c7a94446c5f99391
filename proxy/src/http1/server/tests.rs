//! Talks to the server in raw bytes.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::http1::Drain;
use crate::http1::outbox::tests::delivering;

mod exchange;
mod lifetime;
mod posted;
mod refused;
mod switch;

/// A body that says what it is told, boxed.
type TestBody = BoxBody<Bytes, BoxError>;

fn full(text: impl Into<Bytes>) -> TestBody {
    Full::new(text.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

fn empty() -> TestBody {
    Empty::new()
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// A body of unknown length made of these frames.
fn frames(list: Vec<Result<http_body::Frame<Bytes>, &'static str>>) -> TestBody {
    let list = list.into_iter().map(|frame| frame.map_err(BoxError::from));
    BodyExt::boxed(StreamBody::new(tokio_stream::iter(list)))
}

fn data(text: &'static str) -> Result<http_body::Frame<Bytes>, &'static str> {
    Ok(http_body::Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Answers with what was asked: the request line, the host, and the body.
async fn echo(request: Request<RequestBody>) -> Response<TestBody> {
    let (parts, body) = request.into_parts();
    let host = parts
        .headers
        .get("host")
        .map_or("-", |host| host.to_str().unwrap());
    let mut text = format!("{} {} {host} [", parts.method, parts.uri);
    match body.collect().await {
        Ok(body) => text.push_str(std::str::from_utf8(&body.to_bytes()).unwrap()),
        Err(error) => {
            let mut response = Response::new(full(error.to_string()));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
    }
    text.push(']');
    Response::new(full(text))
}

fn half_closing() -> ServerConfig {
    ServerConfig {
        half_close: true,
        ..ServerConfig::default()
    }
}

/// Serves a connection as on a worker, where small responses wait for each other.
async fn serve<I, S, Fut, B>(
    io: I,
    config: &ServerConfig,
    drain: DrainWatch,
    service: S,
) -> Result<Option<(Switched<I>, B)>, ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Fn(Request<RequestBody>) -> Fut,
    Fut: Future<Output = Response<B>>,
    B: Piped,
    B::Error: Into<BoxError>,
{
    delivering(super::serve(io, config, drain, service)).await
}

/// Sends `input`, ends the client's side, and returns everything answered.
async fn talk<S, Fut, B>(
    config: &ServerConfig,
    input: &[u8],
    service: S,
) -> (String, Result<(), ConnectionError>)
where
    S: Fn(Request<RequestBody>) -> Fut,
    Fut: Future<Output = Response<B>>,
    B: Piped,
    B::Error: Into<BoxError>,
{
    let (mut client, server) = duplex(1 << 20);
    let drain = Drain::new();
    let script = async {
        client.write_all(input).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let served = async {
        let served = serve(server, config, drain.watch(), service).await;
        served.map(|switched| assert!(switched.is_none()))
    };
    tokio::join!(script, served)
}

/// An answer with its date taken out.
fn undated(answer: &str) -> String {
    answer
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("date: "))
        .collect()
}

/// Reads until what was read ends with `end`.
async fn read_until(io: &mut DuplexStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match io.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => panic!("ended after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8(text).unwrap()
}
