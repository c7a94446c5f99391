//! Connections that are left to another protocol.

use super::*;

/// Sends `input`, answers its only request so; what the client got, and what was read of the other
/// protocol.
async fn switched(input: &str, status: u16) -> (String, String) {
    let (mut client, server) = duplex(1 << 16);
    let service = async |request: Request<RequestBody>| {
        let body = request.into_body().collect().await.unwrap();
        let mut response = Response::new(full(body.to_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let fields = response.headers_mut();
        fields.insert("upgrade", "chat".parse().unwrap());
        fields.insert("connection", "upgrade".parse().unwrap());
        fields.insert("content-length", "7".parse().unwrap());
        response
    };
    client.write_all(input.as_bytes()).await.unwrap();
    let (config, drain) = (ServerConfig::default(), Drain::new());
    let served = serve(server, &config, drain.watch(), service).await;
    let (switched, body) = served.unwrap().expect("a switch");
    // Whatever was to be the body stands for the other side.
    let body = body.collect().await.unwrap().to_bytes();
    let read = [&body[..], &switched.read[..]].concat();
    drop(switched.io);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    (answer, String::from_utf8(read).unwrap())
}

const ASKS: &str = "Host: a\r\nConnection: Keep-Alive, Upgrade\r\nUpgrade: chat\r\n";
const ANSWER: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n";

#[tokio::test]
async fn after_a_101_what_follows_the_request_is_the_other_protocols() {
    let follows = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let input = format!("GET / HTTP/1.1\r\n{ASKS}\r\n{follows}");
    let (answer, read) = switched(&input, 101).await;
    assert_eq!((&*answer, &*read), (ANSWER, follows));
}

#[tokio::test]
async fn an_upgrade_with_a_body_has_its_body_first() {
    for body in [
        "Content-Length: 4\r\n\r\nbody",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        let input = format!("POST / HTTP/1.1\r\n{ASKS}{body}\x01\x02");
        let (answer, read) = switched(&input, 101).await;
        assert_eq!((&*answer, &*read), (ANSWER, "body\x01\x02"));
    }
}

#[tokio::test]
async fn after_a_2xx_to_connect_so_is_it_and_the_answer_has_no_length() {
    let input = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nfirst";
    let (answer, read) = switched(input, 200).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("content-length"), "{answer}");
    assert_eq!(read, "first");
}

#[tokio::test]
async fn any_other_answer_to_an_upgrade_leaves_the_connection_to_http() {
    let input = format!(
        "GET /1 HTTP/1.1\r\n{ASKS}\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    let (answer, ended) = talk(&half_closing(), input.as_bytes(), echo).await;
    ended.unwrap();
    assert!(answer.contains("GET /1 a []HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("GET /2 a []"), "{answer}");
}
