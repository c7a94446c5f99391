//! Masses of connections that ask for nothing.

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;

use super::Subject;
use crate::support::{ask, eventually, frames::Raw};

/// How many, if as many files may be open; each takes one here and one in the proxy.
const MANY: u64 = 10_000;
/// Files that are open for other reasons.
const OTHERS: u64 = 500;

/// Both at once would have more open than a process may have.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What the proxy may take for each: half as much again as a debug build does. The kernel's part
/// is not in it.
const SILENT: u64 = 4 << 10;
const HTTP1: u64 = 5 << 10;
const HTTP2: u64 = 36 << 10;
/// What it may take beside them.
const BESIDE: u64 = 16 << 20;

/// How many there can be. Fewer than there are to be is said.
fn many() -> u64 {
    let allowed = rlimit::increase_nofile_limit(MANY + OTHERS).expect("a limit");
    let many = MANY.min(allowed.saturating_sub(OTHERS));
    assert!(many >= 500, "no more than {allowed} files may be open");
    if many < MANY {
        println!("{many} connections only: no more than {allowed} files may be open");
    }
    many
}

impl Subject {
    async fn resting() -> Self {
        Self::start(json!({"idle_timeout": "10m"}), &json!({})).await
    }

    async fn active(&self) -> u64 {
        self.counted("fleetway_listener_connections_active{listener=\"web\"}")
            .await
    }

    /// Waits until so many connections are open.
    async fn holds(&self, number: u64) {
        eventually(&format!("{number} are held"), async || {
            (self.active().await == number).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_held_and_others_are_served() {
    let _one = ONE.lock().await;
    let many = many();
    let subject = Subject::resting().await;
    let before = subject.active().await;
    let start = subject.cost().now;
    let each = |now: u64| now.saturating_sub(start) / many;
    let open = async {
        let mut held = Vec::new();
        for _ in 0..many {
            held.push(TcpStream::connect(subject.web).await.expect("a connection"));
        }
        subject.holds(before + many).await;
        held
    };
    let most = many * SILENT + BESIDE;
    let mut held = subject.during("silent connections", most, open).await;
    println!("{many} silent: {} bytes each", each(subject.cost().now));

    let requests = async {
        for some in held.chunks_mut(100) {
            let all = some
                .iter_mut()
                .map(|stream| ask(stream, "GET /fixed HTTP/1.1\r\nhost: x\r\n\r\n"));
            assert!(join_all(all).await.iter().all(|answer| answer.0 == 200));
        }
    };
    let most = many * HTTP1 + BESIDE;
    subject
        .during("connections of HTTP/1", most, requests)
        .await;
    println!("{many} of HTTP/1: {} bytes each", each(subject.cost().now));
    drop(held);
    subject.holds(before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_of_http2_are_held_too() {
    let _one = ONE.lock().await;
    let many = many();
    let subject = Subject::resting().await;
    let before = subject.active().await;
    let start = subject.cost().now;
    let open = async {
        let mut held = Vec::new();
        for _ in 0..many / 100 {
            let some = (0..100).map(async |_| {
                let mut raw = Raw::connect(subject.web).await;
                assert_eq!(raw.get(1, "/fixed").await, Some(200));
                raw
            });
            held.extend(join_all(some).await);
        }
        held
    };
    let most = many * HTTP2 + BESIDE;
    let held = subject.during("connections of HTTP/2", most, open).await;
    assert_eq!(subject.active().await, before + held.len() as u64);
    let each = subject.cost().now.saturating_sub(start) / held.len() as u64;
    println!("{} of HTTP/2: {each} bytes each", held.len());
    drop(held);
    subject.holds(before).await;
}
