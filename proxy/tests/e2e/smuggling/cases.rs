//! What is sent, what is answered to it, and what of it reaches the upstream.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{proxy, recorder::Recorder, strict};
use crate::support::PATIENCE;

/// What of a case reaches the upstream.
#[derive(Debug)]
pub enum Reaches {
    /// Not one byte.
    Nothing,
    /// At most the beginning of a request, on a connection that ends there.
    NothingWhole,
    /// These requests, as [`shown`] has them.
    These(Vec<String>),
    /// One head, with all, some or nothing of its body, and nothing behind it.
    Early,
}

/// One exchange. In what is sent `/@` stands for the case's own path.
#[derive(Debug)]
pub struct Case {
    sent: Vec<u8>,
    answers: Vec<u16>,
    reaches: Reaches,
}

/// Answered with 200 by an upstream that does not wait for the body.
pub fn early(sent: impl Into<Vec<u8>>) -> Case {
    Case {
        sent: sent.into(),
        answers: vec![200],
        reaches: Reaches::Early,
    }
}

/// Refused with this status; the upstream sees nothing of it.
pub fn refused(status: u16, sent: impl Into<Vec<u8>>) -> Case {
    Case {
        sent: sent.into(),
        answers: vec![status],
        reaches: Reaches::Nothing,
    }
}

/// Refused with this status once its head may have gone on; the upstream sees no whole request.
pub fn broken_off(status: u16, sent: impl Into<Vec<u8>>) -> Case {
    Case {
        reaches: Reaches::NothingWhole,
        ..refused(status, sent)
    }
}

/// Answered with 200 for each of the requests the upstream sees.
pub fn passed(sent: impl Into<Vec<u8>>, requests: &[&str]) -> Case {
    answered(&vec![200; requests.len()], sent, requests)
}

/// Answered as given.
pub fn answered(answers: &[u16], sent: impl Into<Vec<u8>>, requests: &[&str]) -> Case {
    Case {
        sent: sent.into(),
        answers: answers.to_vec(),
        reaches: Reaches::These(requests.iter().map(ToString::to_string).collect()),
    }
}

/// A POST with these fields.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST /@ HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

/// What a smuggler would have the upstream see.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";

/// Sends each case over a connection of its own, and compares.
pub async fn hold(cases: Vec<Case>) {
    let recorder = Recorder::start().await;
    let (mut proxy, web, _folder) = proxy(recorder.address).await;
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let text = case.sent.escape_ascii().to_string();
        let sent = replaced(&case.sent, b"/@", format!("/{index}").as_bytes());
        let exchange = converse(web, &sent, case.answers.len());
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answers) if answers == case.answers => {}
            Ok(answers) => wrong.push(format!("{text}\n  is answered {answers:?}")),
            Err(_) => wrong.push(format!("{text}\n  is not answered")),
        }
    }
    proxy.terminate();
    assert_eq!(proxy.ended(Duration::from_secs(20)).await, Some(0));

    let (mut whole, mut begun) = sorted(&recorder.all().await, &mut wrong);
    for (index, case) in cases.iter().enumerate() {
        let path = format!("/{index}");
        let whole = whole.remove(&path).unwrap_or_default();
        let begun = begun.remove(&path).unwrap_or_default();
        let right = match &case.reaches {
            Reaches::Nothing => whole.is_empty() && begun.is_empty(),
            Reaches::NothingWhole => whole.is_empty(),
            Reaches::Early => whole.len() + begun.len() == 1,
            Reaches::These(requests) => whole == *requests && begun.is_empty(),
        };
        if !right {
            let text = case.sent.escape_ascii();
            wrong.push(format!("{text}\n  reaches as {whole:?}, begun {begun:?}"));
        }
    }
    wrong.extend(
        whole
            .into_iter()
            .map(|other| format!("{other:?} came of nothing")),
    );
    wrong.extend(
        begun
            .into_iter()
            .map(|other| format!("{other:?} came of nothing")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of each path the whole requests and those only begun.
pub type Sorted = (BTreeMap<String, Vec<String>>, BTreeMap<String, Vec<String>>);

/// What came over all connections.
pub fn sorted(connections: &[Vec<u8>], wrong: &mut Vec<String>) -> Sorted {
    let (mut whole, mut begun) = Sorted::default();
    for bytes in connections {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match strict::message(rest, false) {
                Ok(Some((request, after))) => {
                    let (path, text) = shown(&request);
                    whole.entry(path).or_default().push(text);
                    rest = after;
                }
                Ok(None) => {
                    let text = String::from_utf8_lossy(rest);
                    let path = text.split(' ').nth(1).unwrap_or_default();
                    begun
                        .entry(path.to_owned())
                        .or_default()
                        .push(text.to_string());
                    break;
                }
                Err(error) => {
                    wrong.push(format!("the upstream cannot read: {error}"));
                    break;
                }
            }
        }
    }
    (whole, begun)
}

/// A request's path, and all else of it but what the proxy adds to every one: method, host,
/// framing, other fields, body.
pub fn shown(request: &strict::Message) -> (String, String) {
    const ADDED: [&str; 7] = [
        "content-length",
        "host",
        "transfer-encoding",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
    ];
    let words: Vec<&str> = request.line.split(' ').collect();
    let [method, path, "HTTP/1.1"] = words[..] else {
        panic!("no request line of ours: {request:?}");
    };
    let host = request.field("host").unwrap_or_default();
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    let mut text = format!("{method} {host}, {}", request.framing);
    for (name, value) in &request.fields {
        let added = ADDED.contains(&&**name) || (name == "x-forwarded-host" && value == host);
        if !added {
            text += &format!(", {name}: {value}");
        }
    }
    if !request.body.is_empty() {
        text += &format!(": {}", request.body);
    }
    (path.to_owned(), text)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Sends these bytes; the statuses of the answers. Ends its side once there are so many, and takes
/// what comes beyond them too.
async fn converse(web: SocketAddr, bytes: &[u8], answers: usize) -> Vec<u16> {
    let (mut read, mut write) = TcpStream::connect(web)
        .await
        .expect("a connection")
        .into_split();
    let bodyless = bytes.starts_with(b"HEAD ");
    let bytes = bytes.to_vec();
    // Whoever refuses the beginning need not take the rest.
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut came = Vec::new();
    while statuses(&came, bodyless).len() < answers {
        if !matches!(read.read_buf(&mut came).await, Ok(1..)) {
            break;
        }
    }
    let mut write = sending.await.expect("no panic");
    let _ = write.shutdown().await;
    while matches!(read.read_buf(&mut came).await, Ok(1..)) {}
    statuses(&came, bodyless)
}

/// The statuses of the final answers that are whole; 0 in place of what is no answer.
fn statuses(came: &[u8], bodyless: bool) -> Vec<u16> {
    let mut statuses = Vec::new();
    let mut rest = came;
    while !rest.is_empty() {
        match strict::message(rest, bodyless) {
            Ok(Some((answer, after))) => {
                let status = answer
                    .line
                    .split(' ')
                    .nth(1)
                    .and_then(|code| code.parse().ok());
                let status: u16 = status.unwrap_or_default();
                if !(100..200).contains(&status) {
                    statuses.push(status);
                }
                rest = after;
            }
            Ok(None) => break,
            Err(_) => {
                statuses.push(0);
                break;
            }
        }
    }
    statuses
}
