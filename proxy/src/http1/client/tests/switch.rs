//! What an upstream has to say before the connection is another protocol's.

use super::*;

const ASKS: &[(&str, &str)] = &[("connection", "upgrade"), ("upgrade", "Chat, other/2")];

/// Sends an upgrade and answers it so; what was read behind the answer, or the error.
async fn switched(body: TestBody, answer: &str) -> Result<String, String> {
    let (connection, mut upstream) = connect(1 << 16);
    let script = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(upstream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("upgrade: Chat, other/2\r\n"), "{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        upstream.write_all(answer.as_bytes()).await.unwrap();
        upstream
    };
    let sent = send(connection, request("GET", ASKS, body), ());
    let (response, _open) = tokio::join!(sent, script);
    let response = response.map_err(|error| error.to_string())?;
    let status = response.status();
    match response.into_body().into_switched() {
        Some(switched) => Ok(String::from_utf8(switched.read.to_vec()).unwrap()),
        None => Err(format!("no switch by {status}")),
    }
}

fn answer(fields: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n")
}

#[tokio::test]
async fn what_follows_a_101_is_handed_over_with_the_connection() {
    for fields in [
        "Connection: Upgrade\r\nUpgrade: chat\r\n",
        "Connection: keep-alive, upgrade\r\nUpgrade: other/2\r\nContent-Length: 5\r\n",
        "Connection: upgrade\r\nUpgrade: other/2, chat\r\n",
    ] {
        let text = answer(fields) + "HTTP/1.1 200 OK\r\n\r\n";
        let read = switched(empty(), &text).await;
        assert_eq!(read.as_deref(), Ok("HTTP/1.1 200 OK\r\n\r\n"), "{fields}");
    }
    let after_interim = "HTTP/1.1 103 Early Hints\r\n\r\n".to_owned()
        + &answer("Connection: upgrade\r\nUpgrade: chat\r\n");
    assert_eq!(switched(empty(), &after_interim).await.as_deref(), Ok(""));
}

#[tokio::test]
async fn a_101_that_does_not_keep_to_what_was_asked_is_an_error() {
    for text in [
        answer(""),
        answer("Upgrade: chat\r\n"),
        answer("Connection: upgrade\r\n"),
        answer("Connection: upgrade\r\nUpgrade:\r\n"),
        answer("Connection: upgrade\r\nUpgrade: h2c\r\n"),
        answer("Connection: upgrade\r\nUpgrade: chat, h2c\r\n"),
        answer("Connection: upgrade\r\nUpgrade: other/3\r\n"),
        answer("Connection: upgrade\r\nUpgrade: chat\r\n").replace("1.1", "1.0"),
    ] {
        let error = switched(empty(), &text).await.unwrap_err();
        assert!(error.contains("unasked"), "{text:?}: {error}");
    }
    // Nor does any other status switch, and its body is its own.
    let plain = "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: chat\r\nContent-Length: 9\r\n\r\nHTTP/1.1 ";
    let error = switched(empty(), plain).await.unwrap_err();
    assert_eq!(error, "no switch by 200 OK");
}

#[tokio::test]
async fn a_101_before_the_request_was_sent_is_an_error() {
    let endless = StreamBody::new(tokio_stream::pending());
    let fair = answer("Connection: upgrade\r\nUpgrade: chat\r\n");
    let error = switched(BodyExt::boxed(endless), &fair).await.unwrap_err();
    assert!(error.contains("unasked"), "{error}");
}
