//! Bytes of another protocol before there is one, and requests for tunnels with a body.

use super::cases::{SMUGGLED, answered, hold, passed, refused};

fn upgrade(fields: &str) -> String {
    format!(
        "GET /@ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{fields}\r\n"
    )
}

/// RFC 9110 section 7.8: until the upstream has said 101 it is HTTP that is spoken, and what the
/// client sends too soon is read as that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_tunnel_goes_before_the_101() {
    let frame = "\u{1}\u{5}hello";
    let mut cases = Vec::new();
    for (status, told) in [
        (200, "200 OK"),
        (403, "403 Forbidden"),
        (426, "426 Upgrade Required"),
    ] {
        let seen =
            format!("GET a, no body, x-answer: {told}, upgrade: websocket, connection: upgrade");
        let asks = upgrade(&format!("X-Answer: {told}\r\n"));
        cases.push(answered(&[status, 400], format!("{asks}{frame}"), &[&seen]));
        cases.push(answered(
            &[status, 400],
            format!("{asks}{frame}{SMUGGLED}"),
            &[&seen],
        ));
        // What is HTTP is a request of its own, which the proxy has looked at.
        let next = "GET /@ HTTP/1.1\r\nHost: b\r\nX_Y: z\r\n\r\n";
        cases.push(answered(&[status, 400], format!("{asks}{next}"), &[&seen]));
    }
    hold(cases).await;
}

/// Protocols no route allows are not asked for, and with a body none is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_upgrade_goes_on_as_a_request() {
    let get = |fields: &str| format!("GET /@ HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let plain = "GET a, no body";
    hold(vec![
        passed(get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), &[plain]),
        passed(get("Upgrade: websocket"), &[plain]),
        passed(get("Connection: Upgrade"), &[plain]),
        passed(get("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c").replace("1.1", "1.0"), &[plain]),
    ])
    .await;
}

/// RFC 9110 section 9.3.6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_has_no_body_and_no_tunnel_where_no_route_says_so() {
    let connect =
        |fields: &str| format!("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n{fields}\r\n{SMUGGLED}");
    hold(vec![
        refused(400, connect("Content-Length: 92\r\n")),
        refused(400, connect("Transfer-Encoding: chunked\r\n")),
        refused(
            400,
            connect("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ),
        refused(
            400,
            format!("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"),
        ),
        refused(
            400,
            format!("CONNECT /@ HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"),
        ),
        refused(
            400,
            format!("CONNECT http://a:443/@ HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"),
        ),
        refused(
            400,
            format!("CONNECT u@a:443 HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"),
        ),
        refused(405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        // The client may have taken the tunnel for granted.
        refused(405, connect("")),
        refused(
            405,
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\u{16}\u{3}\u{1}\0",
        ),
    ])
    .await;
}
