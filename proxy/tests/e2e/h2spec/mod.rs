//! The proxy against RFC 9113 and RFC 7541, case by case: what a client sends, right or wrong, and
//! what it has to get. The cases are those of h2spec (github.com/summerwind/h2spec), a tool for
//! RFC 7540, as far as RFC 9113 still has them; each is named by the section it is about.
//!
//! Where the tool is content with a connection that is closed without a word, these cases are not:
//! an error has to be named. As the RFC allows (section 5.4.2), a connection error stands for a
//! stream error with the same code.

mod accepted;
mod flow;
mod framing;
mod hpack;
mod messages;
mod streams;

use std::{fmt::Write as _, net::SocketAddr};

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{
    Proxy, Server, Upstream, documents,
    frames::{self, Frame, Raw, code, flag, kind},
};

/// What a client does, in order.
enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Reads until the proxy has ended its side of a stream.
    Ended(u32),
}

/// What it has to get then.
enum Expect {
    /// GOAWAY with one of these codes, and the end of the connection.
    Connection(&'static [u32]),
    /// The same, or the code PROTOCOL_ERROR: the library ends the connection as it has to, or where
    /// it would have to end a stream only, and says less of why than it could.
    Vaguely(&'static [u32]),
    /// RST_STREAM with one of these codes, or such a GOAWAY.
    Stream(u32, &'static [u32]),
    /// An answer with this status on the stream, to its end.
    Status(u32, u16),
    /// The answer to a PING, with no error before it, and to a request.
    Serving,
}

/// A case: the section, what it is about, what is done and what is expected.
struct Case(&'static str, &'static str, Vec<Step>, Expect);

/// A case in which everything is sent at once.
fn at_once(section: &'static str, name: &'static str, parts: &[Vec<u8>], expect: Expect) -> Case {
    Case(section, name, vec![Step::Send(parts.concat())], expect)
}

/// A case in which more is sent once the first stream has ended.
fn after(section: &'static str, name: &'static str, then: Vec<u8>, expect: Expect) -> Case {
    let first = Step::Send(get(1));
    Case(
        section,
        name,
        vec![first, Step::Ended(1), Step::Send(then)],
        expect,
    )
}

/// A request without a body.
fn get(stream: u32) -> Vec<u8> {
    frames::headers(stream, flag::WHOLE, &frames::request("GET", "/"))
}

/// The head of a request with a body.
fn post(stream: u32) -> Vec<u8> {
    frames::headers(stream, flag::END_HEADERS, &frames::request("POST", "/"))
}

/// What a case's PING says.
const PROBE: [u8; 8] = *b"unharmed";

impl Case {
    async fn run(self, web: SocketAddr) -> Result<(), String> {
        let Self(section, name, steps, expect) = self;
        let mut raw = Raw::connect(web).await;
        let mut seen = Vec::new();
        for step in steps {
            match step {
                Step::Send(bytes) => raw.send(&bytes).await,
                Step::Ended(stream) => {
                    let ended = |frame: &Frame| frame.stream == stream && frame.ends_stream();
                    seen.extend(raw.until(ended).await);
                }
            }
        }
        let kept = match expect {
            Expect::Connection(codes) => is_one_of(last(&mut raw, &mut seen).await, codes),
            Expect::Vaguely(codes) => {
                let said = last(&mut raw, &mut seen).await;
                is_one_of(said, codes) || is_one_of(said, &[code::PROTOCOL_ERROR])
            }
            Expect::Stream(stream, codes) => {
                let error = raw.until(|frame| {
                    seen.push(frame.clone());
                    let of_stream = frame.kind == kind::RST_STREAM || frame.ends_stream();
                    frame.kind == kind::GOAWAY || (frame.stream == stream && of_stream)
                });
                is_one_of(error.await.as_ref(), codes)
            }
            Expect::Status(stream, status) => {
                let mut got = None;
                let ended = raw.until(|frame| {
                    seen.push(frame.clone());
                    if frame.stream == stream {
                        got = got.or(frame.status());
                    }
                    frame.stream == stream && frame.ends_stream()
                });
                ended.await.is_some() && got == Some(status)
            }
            Expect::Serving => {
                raw.send(&frames::ping(&PROBE)).await;
                let found = raw.until(|frame| {
                    seen.push(frame.clone());
                    let error = matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY);
                    error || (frame.kind == kind::PING && frame.payload == PROBE)
                });
                let found = found.await.map(|frame| (frame.kind, frame.flags));
                found == Some((kind::PING, flag::ACK)) && raw.get(1001, "/fixed").await == Some(200)
            }
        };
        if kept {
            return Ok(());
        }
        let mut told = format!("{section} {name}: got");
        for frame in seen {
            let _ = write!(told, " [{frame:?}]");
        }
        Err(told)
    }
}

/// Reads to the end of the connection; the last frame, if it is GOAWAY.
async fn last<'s>(raw: &mut Raw, seen: &'s mut Vec<Frame>) -> Option<&'s Frame> {
    while let Some(frame) = raw.next().await {
        seen.push(frame);
    }
    seen.last().filter(|frame| frame.kind == kind::GOAWAY)
}

/// Whether a frame carries an error with one of these codes.
fn is_one_of(frame: Option<&Frame>, codes: &[u32]) -> bool {
    let code = frame.and_then(Frame::code);
    code.is_some_and(|code| codes.contains(&code))
}

/// A proxy that sends requests back as their answers, and answers those under `/fixed` itself.
struct Subject {
    web: SocketAddr,
    _proxy: Proxy,
    _server: Server,
    _echo: Upstream,
}

impl Subject {
    async fn start() -> Self {
        let echo = Upstream::echo().await;
        let server = Server::start().await;
        let proxy = Proxy::of(&server, "p1", "blue").await;
        let mut listener = documents::listener("web");
        listener["http"]["limits"] = json!({"max_concurrent_streams": 10});
        let all = [
            listener,
            documents::cluster("echo", echo.address),
            documents::forward("all", "/", "echo"),
            documents::respond("fixed", "/fixed", "fixed"),
        ];
        server.client().commit_live(&all, 1).await;
        Self {
            web: proxy.listener("web").await,
            _proxy: proxy,
            _server: server,
            _echo: echo,
        }
    }

    /// Runs all, each on its own connection, and tells of every one that fails.
    async fn hold(&self, cases: Vec<Case>) {
        assert!(!cases.is_empty());
        let all = cases.into_iter().map(|case| case.run(self.web));
        let failed: Vec<String> = join_all(all)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    /// A connection on which nothing was sent.
    async fn silent(&self) -> Raw {
        Raw::over(TcpStream::connect(self.web).await.expect("a connection"))
    }
}
