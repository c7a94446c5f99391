//! Clients that say just what they are told to.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Sends these bytes; everything that comes back until the proxy closes.
pub async fn exchange(web: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(web).await.expect("a connection");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// Sends a request on a kept connection; the status and the body of the answer. The proxy's worker,
/// and with it its pool, is that of the connection.
pub async fn ask(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.expect("sent");
    answered(stream).await
}

/// Reads an answer with a length: its status and its body.
pub async fn answered(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    loop {
        answer.push(stream.read_u8().await.expect("an answer"));
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
            let status = head.split(' ').nth(1).expect("a status");
            return (status.parse().expect("a number"), body.to_owned());
        }
    }
}
