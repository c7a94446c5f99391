//! Messages that two programs could read in two ways: what the client is told, and every byte that
//! reached the upstream.

mod bodies;
mod cases;
mod heads;
mod hosts;
mod http2;
mod recorder;
mod responses;
mod strict;
mod tunnels;

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::support::{Proxy, documents};

/// A proxy that sends everything to `upstream`, from a folder of its own.
async fn proxy(upstream: SocketAddr) -> (Proxy, SocketAddr, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let all = [
        documents::listener("web"),
        documents::cluster("up", upstream),
        documents::forward("all", "/", "up"),
    ];
    let text = serde_json::Value::from(all.to_vec()).to_string();
    std::fs::write(folder.path().join("all.json"), text).expect("written");
    let proxy = Proxy::of_folder(folder.path()).await;
    let web = proxy.listener("web").await;
    (proxy, web, folder)
}
