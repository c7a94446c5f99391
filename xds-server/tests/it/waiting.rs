//! `GET /v1/revisions/{n}/status?wait=…` while clients answer on their streams.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    delta::support::{Client, within},
    support::{Server, send},
};

/// Asks once, and waits far longer than a test may take.
fn ask(server: &Server, revision: u64, nodes: &str) -> JoinHandle<Value> {
    let path = format!("/v1/revisions/{revision}/status?wait=5m&nodes={nodes}");
    let request = server.request(Method::GET, &path);
    tokio::spawn(async move { send(request).await.ok().json() })
}

async fn answer(asked: JoinHandle<Value>) -> Value {
    within(asked).await.unwrap()
}

#[tokio::test]
async fn a_waiting_call_is_answered_as_soon_as_its_share_of_the_nodes_is_live() {
    let server = Server::start().await.with_route().await;
    let mut first = Client::start_at(server.xds(), "p1", true).await;
    let mut second = Client::start_at(server.xds(), "p2", true).await;
    // Both have it and neither has answered.
    let pushes = (first.push().await, second.push().await);
    let (half, all) = (ask(&server, 2, "50%25"), ask(&server, 2, "all"));

    first.ack(&pushes.0).await;
    let half = answer(half).await;
    assert_eq!(
        (&half["live"], &half["nodes"], &half["nodes_live"]),
        (&json!(true), &json!(2), &json!(1)),
        "{half}"
    );
    assert_eq!(half["waiting"][0]["id"], "p2");
    assert!(!all.is_finished());

    second.ack(&pushes.1).await;
    assert_eq!(
        answer(all).await,
        json!({
            "revision": 2, "live": true, "nodes": 2, "nodes_live": 2,
            "waiting": [], "refused": false,
        })
    );
}

#[tokio::test]
async fn a_waiting_call_is_answered_once_all_that_do_not_have_it_refused_it() {
    let server = Server::start().await.with_route().await;
    let mut good = Client::start_at(server.xds(), "good", true).await;
    let mut bad = Client::start_at(server.xds(), "bad", true).await;
    let pushes = (good.push().await, bad.push().await);
    let all = ask(&server, 2, "all");

    bad.nack(&pushes.1, "port 80 is taken").await;
    // One that refused it is no answer while another may yet come live.
    let half = ask(&server, 2, "50%25");
    good.ack(&pushes.0).await;
    let (all, half) = (answer(all).await, answer(half).await);
    assert_eq!(
        (&all["live"], &all["refused"], &all["nodes_live"]),
        (&json!(false), &json!(true), &json!(1)),
        "{all}"
    );
    let waiting = &all["waiting"][0];
    assert_eq!(
        (&waiting["id"], &waiting["state"]),
        (&json!("bad"), &json!("REJECTED"))
    );
    assert_eq!(waiting["reason"], "refused revision 2: port 80 is taken");
    assert_eq!(half["live"], true, "{half}");
}
