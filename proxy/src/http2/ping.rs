//! Whether the other side is still there.

use std::{cell::Cell, pin::pin, rc::Rc, time::Duration};

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Asks `every` so often, while the connection is `busy` and nothing has come meanwhile, whether the other
/// side is still there (RFC 9113 section 6.7). Ends once neither its answer nor anything else came `within`
/// that time: the answer may have to wait for what the other side has begun to send.
pub async fn silence(
    mut ping: PingPong,
    every: Duration,
    within: Duration,
    busy: impl Fn() -> bool,
    heard: Rc<Cell<u64>>,
) {
    loop {
        let known = heard.get();
        sleep(every).await;
        if !busy() || heard.get() != known {
            continue;
        }
        let mut pong = pin!(ping.ping(Ping::opaque()));
        loop {
            let known = heard.get();
            match timeout(within, pong.as_mut()).await {
                Ok(Ok(_)) => break,
                Err(_) if heard.get() != known => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}
