//! Whether the other side is still there.

use std::time::Duration;

use h2::{Ping, PingPong};

/// Asks `every` so often, while the connection is `busy`, whether the other side is still there (RFC
/// 9113 section 6.7). Ends once it has not answered `within` that time.
pub async fn silence(
    mut ping: PingPong,
    every: Duration,
    within: Duration,
    busy: impl Fn() -> bool,
) {
    loop {
        tokio::time::sleep(every).await;
        if !busy() {
            continue;
        }
        let answered = tokio::time::timeout(within, ping.ping(Ping::opaque())).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
    }
}
