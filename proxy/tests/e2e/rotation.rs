//! Certificates that change while clients are served.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::json;

use crate::support::{Authority, Proxy, Server, documents};

const ROTATIONS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_under_load_fail_no_request_and_close_no_connection() {
    let ca = Authority::new("Test CA");
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let mut listener = documents::listener("web");
    listener["tls"] = json!({"certificates": ["api"]});
    let secret = || ca.issue(&["api.example.com"]).secret("api");
    let route = documents::respond("hello", "/", "hello");
    rest.commit_live(&[secret(), listener, route], 1).await;
    let web = proxy.listener("web").await;

    let over = Arc::new(AtomicBool::new(false));
    let opened = Arc::new(AtomicUsize::new(0));
    let mut loads = Vec::new();
    for (kept, version2) in [(true, false), (true, true), (false, false), (false, true)] {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(ca.client_config_speaking(version2))
            .resolve("api.example.com", web)
            .pool_max_idle_per_host(if kept { 1 } else { 0 })
            .timeout(Duration::from_secs(20));
        let client = builder.build().expect("a client");
        let url = format!("https://api.example.com:{}/", web.port());
        let (over, opened) = (over.clone(), opened.clone());
        loads.push(tokio::spawn(async move {
            let mut requests = 0;
            while !over.load(Relaxed) {
                let request = client.get(&url);
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.text().await.expect("a text"), "hello");
                requests += 1;
                if !kept || requests == 1 {
                    opened.fetch_add(1, Relaxed);
                }
            }
            requests
        }));
    }
    for _ in 0..ROTATIONS {
        rest.commit_live(&[secret()], 1).await;
    }
    over.store(true, Relaxed);
    for load in loads {
        assert!(load.await.expect("no request fails") > 0);
    }
    let (_, metrics) = proxy.page("/metrics").await;
    let sample = "fleetway_listener_connections_total{listener=\"web\"} ";
    let connections = metrics.lines().find_map(|line| line.strip_prefix(sample));
    let connections: usize = connections.expect("a counter").parse().expect("a number");
    assert_eq!(
        connections,
        opened.load(Relaxed),
        "those kept were one each"
    );
}
