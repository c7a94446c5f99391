//! What the end-to-end tests share: the programs, upstreams to forward to, a REST client.

mod certificates;
mod client;
pub mod frames;
mod nginx;
mod pages;
mod peers;
mod programs;
mod rest;
mod upstream;

use std::{net::SocketAddr, time::Duration};

pub use certificates::{Authority, Issued, write_private};
pub use client::{answered, ask, exchange};
pub use nginx::Nginx;
pub use pages::{apply_page, block_with_texts, page_with_texts};
pub use peers::{Peer, curl, run_python};
pub use programs::{Proxy, Server, Surroundings, fleetway, fleetway_with_editor, run_shell};
pub use rest::{Rest, documents};
pub use upstream::Upstream;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Waits until nobody listens at `address`.
pub async fn refuses(address: SocketAddr) {
    eventually("the socket is closed", async || {
        let connected = tokio::net::TcpStream::connect(address).await;
        connected.is_err().then_some(())
    })
    .await;
}
