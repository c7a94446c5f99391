//! Upstreams to forward to.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An upstream in the test's own process; it ends when its handle goes.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Answers every request with its name.
    pub async fn named(name: &'static str) -> Self {
        Self::answering(move |_, _| Response::new(name.into())).await
    }

    /// Answers every request with the request as it came: line, fields in order, body.
    pub async fn echo() -> Self {
        Self::answering(|head, body| {
            let mut text = format!("{} {}\n", head.method, head.uri);
            for (name, value) in &head.headers {
                text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
            text += "\n";
            text += &String::from_utf8_lossy(&body);
            Response::new(text)
        })
        .await
    }

    /// Answers every request with its `x-user`, its body, and the trailers behind that.
    pub async fn trailed() -> Self {
        Self::serving(|request| async move {
            let (head, body) = request.into_parts();
            let user = head.headers.get("x-user").cloned();
            let body = body.collect().await.expect("a whole body");
            let mut trailers = String::new();
            for (name, value) in body.trailers().into_iter().flatten() {
                trailers += &format!("trailer {name}: {}\n", value.to_str().expect("text"));
            }
            let user = user.unwrap_or(http::HeaderValue::from_static(""));
            let user = user.to_str().expect("text").to_owned();
            let body = body.to_bytes();
            let body = String::from_utf8_lossy(&body);
            Response::new(format!("x-user: {user}\nbody: {body}\n{trailers}"))
        })
        .await
    }

    /// Answers every request with the length of its body.
    pub async fn measuring() -> Self {
        Self::answering(|_, body| Response::new(body.len().to_string())).await
    }

    /// Changes the protocol at each connection's first request, and says everything back.
    pub async fn switching() -> Self {
        Self::connections(|mut stream| async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                upgrade: websocket\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await
    }

    /// Answers by a function of the request's head and body.
    pub async fn answering(
        answer: impl Fn(http::request::Parts, Bytes) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Self::serving(move |request| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = match body.collect().await {
                    Ok(body) => body.to_bytes(),
                    Err(_) => Bytes::from_static(b"broken off"),
                };
                answer(head, body)
            }
        })
        .await
    }

    async fn serving<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<String>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::connections(move |stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await.map(Full::<Bytes>::from)) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// Answers each connection's first request with 204 if it comes behind these bytes.
    pub async fn headed(header: &'static [u8]) -> Self {
        Self::connections(move |mut stream| async move {
            let mut read = vec![0; header.len()];
            if stream.read_exact(&mut read).await.is_ok() && read == header {
                read_head(&mut stream).await;
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        })
        .await
    }

    /// Reads each connection to its end and answers with its name and all it was sent.
    pub async fn hearing_out(name: &'static str) -> Self {
        Self::connections(move |mut stream| async move {
            let mut heard = format!("{name}: ").into_bytes();
            if stream.read_to_end(&mut heard).await.is_ok() {
                let _ = stream.write_all(&heard).await;
            }
        })
        .await
    }

    /// Answers each connection's first request head with these bytes to the letter, then closes.
    pub async fn raw(answer: &'static [u8]) -> Self {
        Self::connections(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
        })
        .await
    }

    /// As [`Upstream::raw`], but goes on holding the connection open.
    pub async fn stalling(answer: &'static [u8]) -> Self {
        Self::connections(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.read_u8().await;
        })
        .await
    }

    /// Answers the first request of each connection and keeps the connection; closes it at the
    /// second request without a word, as a server does whose idle time ran out just then. Tells of
    /// every request line.
    pub async fn forgetful(requests: tokio::sync::mpsc::Sender<String>) -> Self {
        Self::connections(move |mut stream| {
            let requests = requests.clone();
            async move {
                let head = read_head(&mut stream).await;
                let _ = requests.send(head).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst";
                let _ = stream.write_all(answer).await;
                let head = read_head(&mut stream).await;
                let _ = requests.send(head).await;
            }
        })
        .await
    }

    async fn connections<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { address, task }
    }
}

/// Reads up to the end of a request head; its first line, empty if the connection ended first.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8_lossy(&head)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
