//! Answers that say in two ways where they end: what the client gets, and that nobody gets another's.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::{proxy, strict};
use crate::support::PATIENCE;

/// Which paths each connection was asked for.
type Asked = Arc<Mutex<Vec<Vec<String>>>>;

/// Answers `/N` with the N-th of these to the letter, and everything else with its own path.
async fn scripted(answers: Vec<Vec<u8>>) -> (SocketAddr, Asked) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("an address");
    let asked = Asked::default();
    let (all, answers) = (asked.clone(), Arc::new(answers));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let connection = {
                let mut all = all.lock().expect("no panic");
                all.push(Vec::new());
                all.len() - 1
            };
            let (all, answers) = (all.clone(), answers.clone());
            tokio::spawn(async move {
                while let Some(path) = next_path(&mut stream).await {
                    let index = path[1..].parse().unwrap_or(answers.len());
                    all.lock().expect("no panic")[connection].push(path.clone());
                    let own = own(&path).into_bytes();
                    let answer = answers.get(index).unwrap_or(&own);
                    let ends = answer.strip_suffix(b"<close>");
                    let sent = stream.write_all(ends.unwrap_or(answer)).await;
                    if ends.is_some() || sent.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

fn own(path: &str) -> String {
    let length = path.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}")
}

async fn next_path(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let (head, _) = strict::head(&bytes).ok()??;
    head.line.split(' ').nth(1).map(str::to_owned)
}

/// Asks on `stream`, or on a new one where that has ended. The answer as status, framing, own
/// fields and body; `cut off` where it does not come to its end.
async fn ask(web: SocketAddr, stream: &mut Option<TcpStream>, method: &str, path: &str) -> String {
    let mut kept = match stream.take() {
        Some(kept) => kept,
        None => TcpStream::connect(web).await.expect("a connection"),
    };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    kept.write_all(request.as_bytes()).await.expect("sent");
    let mut came = Vec::new();
    let mut interim = 0;
    loop {
        match strict::message(&came, method == "HEAD") {
            Err(error) => return format!("unreadable: {error}"),
            Ok(Some((answer, rest))) if answer.line.starts_with("HTTP/1.1 1") => {
                interim += 1;
                came = rest.to_vec();
                continue;
            }
            Ok(Some((answer, rest))) => {
                assert!(rest.is_empty(), "beyond it: {}", rest.escape_ascii());
                if answer.field("connection") != Some("close") {
                    *stream = Some(kept);
                }
                return shown(&answer, interim);
            }
            Ok(None) => {}
        }
        let read = tokio::time::timeout(PATIENCE, kept.read_buf(&mut came)).await;
        if !matches!(read.expect("in time"), Ok(1..)) {
            return "cut off".to_owned();
        }
    }
}

fn shown(answer: &strict::Message, interim: u32) -> String {
    let status = answer.line.split(' ').nth(1).unwrap_or_default();
    if status == "502" {
        // The rest is the proxy's own.
        return format!("{}502", if interim > 0 { "after others, " } else { "" });
    }
    let mut text = format!("{status}, {}", answer.framing);
    for (name, value) in &answer.fields {
        if name.starts_with("x-") && name != "x-request-id" {
            text += &format!(", {name}: {value}");
        }
    }
    if interim > 0 {
        text += &format!(", after {interim}");
    }
    if !answer.body.is_empty() {
        text += &format!(": {}", answer.body);
    }
    text
}

/// An answer, what the client makes of it, and whether its connection may serve again. Those that
/// begin with `HEAD ` are to such a request.
type Case = (String, &'static str, bool);

async fn hold(cases: Vec<Case>) {
    let answers = cases.iter().map(|(answer, ..)| {
        let answer = answer.strip_prefix("HEAD ").unwrap_or(answer);
        answer.as_bytes().to_vec()
    });
    let (upstream, asked) = scripted(answers.collect()).await;
    let (_proxy, web, _folder) = proxy(upstream).await;
    let mut wrong = Vec::new();
    for (index, (answer, expected, reused)) in cases.iter().enumerate() {
        let text: String = answer.escape_debug().take(200).collect();
        let method = if answer.starts_with("HEAD ") {
            "HEAD"
        } else {
            "GET"
        };
        // What was kept of another case is no help to this one: it is asked for by the same worker.
        let mut first = None;
        let told = ask(web, &mut first, method, &format!("/{index}")).await;
        if told != *expected {
            wrong.push(format!("{text}\n  is told as {told}"));
        }
        // The same client, and others after it, get their own.
        for own in [format!("/own-{index}"), format!("/next-{index}")] {
            let told = ask(web, &mut first, "GET", &own).await;
            assert_eq!(told, format!("200, length {}: {own}", own.len()), "{text}");
        }
        let path = format!("/other-{index}");
        let told = ask(web, &mut None, "GET", &path).await;
        assert_eq!(
            told,
            format!("200, length {}: {path}", path.len()),
            "{text}"
        );
        let asked = asked.lock().expect("no panic");
        let connection = asked
            .iter()
            .find(|paths| paths.contains(&format!("/{index}")));
        let last = connection.and_then(|paths| paths.last());
        let served_again = last.is_some_and(|last| *last != format!("/{index}"));
        if served_again != *reused {
            wrong.push(format!(
                "{text}\n  its connection serves again: {served_again}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

/// RFC 9112 section 6.3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_ends_in_one_place_or_is_none() {
    let hello = "200, length 5: hello";
    let mut cases: Vec<Case> = vec![
        (ok("Content-Length: 5", "hello"), hello, true),
        (
            ok("Content-Length: 5\r\nContent-Length: 5", "hello"),
            hello,
            true,
        ),
        (ok("Content-Length: 5, 05", "hello"), hello, true),
        (ok("Content-Length : 5", "hello"), hello, true),
        (
            ok("Content-Length: 5\r\nConnection: close", "hello"),
            hello,
            false,
        ),
        (
            ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
            "200, chunked: abc",
            true,
        ),
        // The coding goes before the length, and the connection is not trusted after that.
        (
            ok(
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                "3\r\nabc\r\n0\r\n\r\n",
            ),
            "200, chunked: abc",
            false,
        ),
        (
            ok(
                "Transfer-Encoding: chunked\r\nContent-Length: 0",
                "3\r\nabc\r\n0\r\n\r\n",
            ),
            "200, chunked: abc",
            false,
        ),
        (
            ok("X-A: b", "hello<close>"),
            "200, chunked, x-a: b: hello",
            false,
        ),
        (ok("Content-Length: 10", "hello<close>"), "cut off", false),
        (
            ok("Transfer-Encoding: chunked", "3\r\nabc\r\n<close>"),
            "cut off",
            false,
        ),
    ];
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:",
    ] {
        cases.push((ok(fields, "5\r\nhello\r\n0\r\n\r\n"), "502", false));
    }
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;\n\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
    ] {
        cases.push((ok("Transfer-Encoding: chunked", body), "cut off", false));
    }
    let old = ok("Transfer-Encoding: chunked", "0\r\n\r\n").replace("1.1", "1.0");
    cases.push((old, "502", false));
    hold(cases).await;
}

/// What follows an answer is nobody's: its connection serves no other (RFC 9112 section 9.2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_behind_an_answer_is_not_the_next() {
    let evil = ok("Content-Length: 4", "evil");
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n";
    hold(vec![
        (
            ok("Content-Length: 5", "hello") + &evil,
            "200, length 5: hello",
            false,
        ),
        (
            ok("Content-Length: 5", "hello\r\n"),
            "200, length 5: hello",
            false,
        ),
        (ok("Content-Length: 0", "") + &evil, "200, length 0", false),
        (
            ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n") + &evil,
            "200, chunked: abc",
            false,
        ),
        (
            format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"),
            "204, no body",
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nevil!".to_owned(),
            "204, no body",
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "204, no body",
            false,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nevil!".to_owned(),
            "304, no body",
            false,
        ),
        (
            format!("HEAD {}", ok("Content-Length: 5", "evil!")),
            "200, no body",
            false,
        ),
        (
            format!("HEAD {}", ok("Transfer-Encoding: chunked", "0\r\n\r\n")),
            "200, no body",
            false,
        ),
        (
            format!("HEAD {}", ok("Content-Length: 5", "")),
            "200, no body",
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_owned(),
            "304, no body",
            true,
        ),
        // Not asked for.
        (format!("{switch}{evil}"), "502", false),
        (format!("{hints}{switch}{evil}"), "after others, 502", false),
        (
            format!("HTTP/1.1 100 Continue\r\n\r\n{evil}"),
            "200, length 4, after 1: evil",
            true,
        ),
        (
            hints.repeat(64) + &evil,
            "200, length 4, after 64: evil",
            true,
        ),
        (hints.repeat(65) + &evil, "after others, 502", false),
        (hints.repeat(5000) + &evil, "after others, 502", false),
    ])
    .await;
}

/// RFC 9112 sections 2.2, 4 and 5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_none_or_has_no_end_is_not_passed_on() {
    let mut cases: Vec<Case> = [
        "Content-Length: 5\n",
        "X: y\nContent-Length: 5",
        "X: y\rContent-Length: 5",
        "X: y\r\n z\r\nContent-Length: 5",
        " X: y\r\nContent-Length: 5",
        "Content-Length:\r\n 5",
        "X: a\0b\r\nContent-Length: 5",
        "X: a\u{7f}b\r\nContent-Length: 5",
        "X y: z\r\nContent-Length: 5",
        ": y\r\nContent-Length: 5",
        "nothing\r\nContent-Length: 5",
    ]
    .iter()
    .map(|fields| (ok(fields, "hello"), "502", false))
    .collect();
    for line in [
        "HTTP/1.1 200 OK\n",
        "\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 000 OK\r\n",
        "HTTP/1.1 +20 OK\r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1 200 O\0K\r\n",
        "HTTP/1.1 200 O\rK\r\n",
        "HTTP/2.0 200 OK\r\n",
        "HTTP/0.9 200 OK\r\n",
        "http/1.1 200 OK\r\n",
        "ICY 200 OK\r\n",
        "GET / HTTP/1.1\r\n",
        "hello\r\n",
    ] {
        cases.push((
            format!("{line}Content-Length: 5\r\n\r\nhello"),
            "502",
            false,
        ));
    }
    let many = "X: y\r\n".repeat(300);
    let large = format!("X: {}", "y".repeat(100_000));
    for bomb in [&many, &large] {
        cases.push((
            ok(&format!("{bomb}Content-Length: 5"), "hello"),
            "502",
            false,
        ));
    }
    cases.push((
        format!("HTTP/1.1 200 {}", "y".repeat(100_000)),
        "502",
        false,
    ));
    // What is of one connection only stays there.
    let own = "Connection: x-own\r\nX-Own: 1\r\nX-Other: 2\r\nKeep-Alive: 5\r\nContent-Length: 5";
    cases.push((ok(own, "hello"), "200, length 5, x-other: 2: hello", true));
    hold(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_idle_connection_brings_is_nobodys_answer() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (_proxy, web, _folder) = proxy(socket.local_addr().expect("an address")).await;
    let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, done) = (go.clone(), gone.clone());
    tokio::spawn(async move {
        let (mut first, _) = socket.accept().await.expect("a connection");
        let path = next_path(&mut first).await.expect("a request");
        first.write_all(own(&path).as_bytes()).await.expect("sent");
        told.notified().await;
        first
            .write_all(own("/evil").as_bytes())
            .await
            .expect("sent");
        done.notify_one();
        let (mut second, _) = socket.accept().await.expect("another connection");
        let path = next_path(&mut second).await.expect("a request");
        second.write_all(own(&path).as_bytes()).await.expect("sent");
        assert_eq!(next_path(&mut first).await, None);
        let _ = next_path(&mut second).await;
    });
    let mut client = None;
    assert_eq!(
        ask(web, &mut client, "GET", "/one").await,
        "200, length 4: /one"
    );
    go.notify_one();
    gone.notified().await;
    // On the same connection, and so by the same worker.
    assert!(client.is_some());
    assert_eq!(
        ask(web, &mut client, "GET", "/two").await,
        "200, length 4: /two"
    );
}
