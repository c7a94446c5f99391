//! Policies that change while clients are served.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use serde_json::json;

use super::{Fleet, at};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_changes_under_load_and_no_request_fails() {
    let fleet = Fleet::start().await;
    let answering = |text: &str| {
        fleet.policy(
            "p",
            json!({"pre_route": [{"respond": {"status": 200, "body": text}}]}),
        )
    };
    let url = fleet
        .commit(json!([]), at("p", &["PRE_ROUTE"]), &[answering("0")])
        .await;
    let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, answered, url) = (over.clone(), answered.clone(), url.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut last = 0;
                while !over.load(Relaxed) {
                    let answer = client.get(&url).send().await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                    let text = answer.text().await.expect("a whole answer");
                    let seen: usize = text.parse().expect("a number");
                    assert!(seen >= last, "{seen} after {last}");
                    last = seen;
                    answered.fetch_add(1, Relaxed);
                }
                last
            })
        })
        .collect();
    for round in 1..=10 {
        let policy = answering(&round.to_string());
        fleet.server.client().commit_live(&[policy], 1).await;
        let before = answered.load(Relaxed);
        eventually("requests are served", async || {
            (answered.load(Relaxed) > before + 20).then_some(())
        })
        .await;
    }
    over.store(true, Relaxed);
    for client in clients {
        assert_eq!(client.await.expect("no request failed"), 10);
    }
}
