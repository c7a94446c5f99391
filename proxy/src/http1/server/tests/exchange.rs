//! Requests and responses that go as they should.

use super::*;

async fn answer_with(
    input: &str,
    respond: impl Fn() -> Response<TestBody>,
) -> (String, Result<(), ConnectionError>) {
    let (answer, ended) = talk(&half_closing(), input.as_bytes(), async |_request| {
        respond()
    })
    .await;
    (undated(&answer), ended)
}

fn response(
    status: u16,
    fields: &[(&'static str, &'static str)],
    body: TestBody,
) -> Response<TestBody> {
    let mut builder = Response::builder().status(status);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}

#[tokio::test]
async fn every_framing_of_a_response_is_as_the_request_and_the_body_ask() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let old = "GET / HTTP/1.0\r\n\r\n";
    let old_kept = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases: Vec<(&str, Response<TestBody>, &str)> = vec![
        (
            get,
            response(200, &[], full("abc")),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            get,
            response(200, &[], empty()),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            get,
            response(299, &[], empty()),
            "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n",
        ),
        (
            get,
            response(
                200,
                &[("transfer-encoding", "gzip"), ("content-length", "9")],
                full("abc"),
            ),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            get,
            response(200, &[], frames(vec![data("ab"), data(""), data("c")])),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (
            get,
            response(
                200,
                &[("content-length", "3")],
                frames(vec![data("ab"), data("c")]),
            ),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            old,
            response(200, &[], frames(vec![data("ab"), data("c")])),
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc",
        ),
        (
            old_kept,
            response(200, &[], full("abc")),
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            head,
            response(200, &[("content-length", "9")], empty()),
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        ),
        (head, response(200, &[], empty()), "HTTP/1.1 200 OK\r\n\r\n"),
        (
            head,
            response(200, &[], frames(vec![data("ab")])),
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
        (
            get,
            response(204, &[("content-length", "0")], empty()),
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            get,
            response(304, &[("content-length", "9")], empty()),
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        ),
        (
            get,
            response(200, &[("connection", "x, close, keep-alive")], empty()),
            "HTTP/1.1 200 OK\r\nconnection: close, x\r\ncontent-length: 0\r\n\r\n",
        ),
    ];
    for (request, response, expected) in cases {
        let response = RefCell::new(Some(response));
        let (answer, ended) = answer_with(request, || response.take().unwrap()).await;
        assert_eq!(answer, expected, "{request:?}");
        ended.unwrap();
    }
}

#[tokio::test]
async fn trailers_go_both_ways_without_what_frames_a_message() {
    let input = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\nx\r\n0\r\nA: 1\r\nContent-Length: 7\r\nB: 2\r\n\r\n";
    let (answer, _) = talk(
        &half_closing(),
        input.as_bytes(),
        async |request: Request<RequestBody>| {
            let body = request.into_body().collect().await.unwrap();
            let mut trailers = body.trailers().unwrap().clone();
            assert_eq!(trailers.len(), 2);
            trailers.insert("transfer-encoding", "chunked".parse().unwrap());
            Response::new(frames(vec![
                data("y"),
                Ok(http_body::Frame::trailers(trailers)),
            ]))
        },
    )
    .await;
    assert!(
        answer.ends_with("\r\n\r\n1\r\ny\r\n0\r\na: 1\r\nb: 2\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_of_the_wrong_length_is_never_ended_cleanly() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let wrong: [fn() -> Response<TestBody>; 3] = [
        || response(200, &[("content-length", "4")], frames(vec![data("abc")])),
        || response(200, &[("content-length", "2")], frames(vec![data("abc")])),
        || response(200, &[], frames(vec![data("abc"), Err("broken")])),
    ];
    for respond in wrong {
        let (answer, ended) = answer_with(get, respond).await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        assert!(
            matches!(ended, Err(ConnectionError::Response(_))),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_close_delimited_response_that_breaks_off_is_aborted() {
    for (input, aborts) in [
        ("GET / HTTP/1.0\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
    ] {
        let (mut client, server) = duplex(1 << 16);
        let (drain, aborted, config) = (Drain::new(), Cell::new(false), ServerConfig::default());
        client.write_all(input.as_bytes()).await.unwrap();
        let service = async |_| Response::new(frames(vec![data("abc"), Err("broken")]));
        let transport = Transport {
            abort: |_: &mut DuplexStream| aborted.set(true),
            write_last: |io: &mut DuplexStream, cx, bytes| Pin::new(io).poll_write(cx, bytes),
            is_unregistered: |_: &DuplexStream| false,
            plain: |_: &DuplexStream| None,
        };
        let ended = serve_with(server, config.clone(), drain.watch(), transport, service).await;
        assert!(matches!(ended, Err(ConnectionError::Response(_))));
        assert_eq!(aborted.get(), aborts);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut input = String::new();
    for n in 0..20 {
        input.push_str(&format!(
            "POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy"
        ));
        input.push_str(&format!(
            "POST /c{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n"
        ));
    }
    let (answer, ended) = talk(&half_closing(), input.as_bytes(), echo).await;
    ended.unwrap();
    let paths: Vec<&str> = answer
        .match_indices("POST /")
        .map(|(at, _)| answer[at + 6..].split(' ').next().unwrap())
        .collect();
    let expected: Vec<String> = (0..20)
        .flat_map(|n| [n.to_string(), format!("c{n}")])
        .collect();
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn requests_that_arrive_byte_by_byte_are_the_same() {
    let input = "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3;e=f\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n\
                 POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                 GET /z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // A pipe of one byte delivers one byte at a time, both ways.
    let (client, server) = duplex(1);
    let (mut reader, mut writer) = tokio::io::split(client);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let mut answer = String::new();
    let (ended, ..) = tokio::join!(
        serve(server, &config, drain.watch(), echo),
        async { writer.write_all(input.as_bytes()).await.unwrap() },
        async { reader.read_to_string(&mut answer).await.unwrap() },
    );
    ended.unwrap();
    for expected in ["POST /x a [abcde]", "POST /y a [abc]", "GET /z a []"] {
        assert!(answer.contains(expected), "{answer}");
    }
}

#[tokio::test]
async fn large_bodies_stream_both_ways_with_bounded_buffers() {
    const SIZE: usize = 8 << 20;
    for framing in [
        format!("Content-Length: {SIZE}"),
        "Transfer-Encoding: chunked".to_owned(),
    ] {
        let (client, server) = duplex(10_000);
        let (mut reader, mut writer) = tokio::io::split(client);
        let (drain, config) = (Drain::new(), ServerConfig::default());
        let chunked = framing.starts_with('T');
        let upload = async {
            let head =
                format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n");
            writer.write_all(head.as_bytes()).await.unwrap();
            for piece in (0..SIZE).step_by(1 << 16) {
                let byte = u8::try_from(piece >> 16).unwrap();
                let mut bytes = vec![byte; 1 << 16];
                if chunked {
                    bytes.splice(0..0, *b"10000\r\n");
                    bytes.extend_from_slice(b"\r\n");
                }
                writer.write_all(&bytes).await.unwrap();
            }
            if chunked {
                writer.write_all(b"0\r\n\r\n").await.unwrap();
            }
        };
        let download = async {
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.unwrap();
            answer
        };
        // The request's body is the response's: it is read while that is written.
        let service = async |request: Request<RequestBody>| Response::new(request.into_body());
        let (ended, (), answer) = tokio::join!(
            serve(server, &config, drain.watch(), service),
            upload,
            download
        );
        ended.unwrap();
        let content = answer.iter().filter(|byte| **byte == 77).count();
        assert!(answer.len() >= SIZE, "{}", answer.len());
        assert!(content >= 1 << 16);
        assert_eq!(answer.ends_with(b"\r\n0\r\n\r\n"), chunked);
    }
}

#[tokio::test]
async fn the_100_is_sent_when_the_body_is_asked_for_and_only_then() {
    let (mut client, server) = duplex(1 << 16);
    let (drain, config) = (Drain::new(), ServerConfig::default());
    let script = async {
        let head =
            "POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let interim = read_until(&mut client, "\r\n\r\n").await;
        assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"abc").await.unwrap();
        read_until(&mut client, "POST /1 a [abc]").await;
        // With the body already there, the 100 is left out.
        client
            .write_all(format!("{head}abc").as_bytes())
            .await
            .unwrap();
        let answer = read_until(&mut client, "POST /1 a [abc]").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
        client.shutdown().await.unwrap();
    };
    let (ended, ()) = tokio::join!(serve(server, &config, drain.watch(), echo), script);
    ended.unwrap();
}

#[tokio::test]
async fn a_request_refused_before_its_100_closes_the_connection() {
    let input = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let (answer, _) = answer_with(input, || response(413, &[], empty())).await;
    assert_eq!(
        answer,
        "HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".replace(
            "Payload",
            StatusCode::PAYLOAD_TOO_LARGE
                .canonical_reason()
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
        )
    );
}

#[tokio::test]
async fn interim_responses_are_relayed_but_no_second_100_and_none_to_http_1_0() {
    let service = async |request: Request<RequestBody>| {
        let body = request.into_body();
        let interim = body.interim();
        let mut hints = http::HeaderMap::new();
        hints.insert("link", "</x>".parse().unwrap());
        hints.insert("content-length", "5".parse().unwrap());
        interim.send(StatusCode::EARLY_HINTS, &hints).unwrap();
        interim
            .send(StatusCode::CONTINUE, &http::HeaderMap::new())
            .unwrap();
        interim
            .send(StatusCode::CONTINUE, &http::HeaderMap::new())
            .unwrap();
        for (status, error) in [
            (101, InterimError::NotInterim),
            (200, InterimError::NotInterim),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(interim.send(status, &hints), Err(error));
        }
        let body = body.collect().await.unwrap().to_bytes();
        Response::new(full(body))
    };
    let relayed = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
    let table = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            true,
        ),
        (
            "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
            false,
        ),
    ];
    for (input, interims) in table {
        let (answer, _) = talk(&half_closing(), input.as_bytes(), service).await;
        let expected = if interims {
            format!("{relayed}{last}")
        } else {
            last.to_owned()
        };
        let answer = undated(&answer).replace("connection: close\r\n", "");
        assert_eq!(answer, expected, "{input:?}");
    }
}

#[tokio::test]
async fn unread_bodies_are_skipped_up_to_the_bound() {
    let config = ServerConfig {
        max_unread_body: 1000,
        ..half_closing()
    };
    for (length, served) in [(1000, 2), (1001, 1)] {
        let bodies = [
            format!("Content-Length: {length}\r\n\r\n{}", "x".repeat(length)),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n",
                "x".repeat(length)
            ),
        ];
        for body in bodies {
            let input =
                format!("POST / HTTP/1.1\r\nHost: a\r\n{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let service = async |_| Response::new(full("answer"));
            let (answer, ended) = talk(&config, input.as_bytes(), service).await;
            ended.unwrap();
            assert_eq!(answer.matches("answer").count(), served, "{length}");
        }
    }
}

#[tokio::test]
async fn a_service_that_tries_to_switch_protocols_is_a_bad_gateway() {
    let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n";
    let table = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 101),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 101),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n"), 103),
        (format!("GET / HTTP/1.0\r\nHost: a\r\n{upgrade}\r\n"), 101),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n".to_owned(),
            101,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n".to_owned(),
            101,
        ),
        // What is left of the request would be taken for the other protocol.
        (
            format!("POST / HTTP/1.1\r\nHost: a\r\n{upgrade}Content-Length: 3\r\n\r\nabc"),
            101,
        ),
    ];
    for (input, status) in &table {
        let (answer, ended) = answer_with(input, || response(*status, &[], empty())).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{input}: {answer}");
        assert!(matches!(ended, Err(ConnectionError::Switch)));
    }
}
