//! What a proxy cannot apply it refuses, and says so where an operator looks.

use serde_json::{Value, json};

use crate::support::{Proxy, Server, documents, eventually, fleetway};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_on_a_taken_port_is_refused_named_and_healed() {
    let server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let first = [
        documents::listener("web"),
        documents::respond("r", "/", "old"),
    ];
    let good = rest.commit_live(&first, 1).await;
    let url = format!("http://{}/", proxy.listener("web").await);

    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let mut busy = documents::listener("busy");
    busy["address"] = json!(port);
    let bad = rest
        .commit(&[busy.clone(), documents::respond("r", "/", "new")], &[])
        .await;
    let node = eventually("the refusal is shown", async || {
        let node = rest.get("/v1/nodes/p1").await;
        (node["state"] == json!("REJECTED")).then_some(node)
    })
    .await;
    let message = node["last_error"]["message"]
        .as_str()
        .expect("the proxy's words");
    assert!(message.contains("listeners/busy: address"), "{message}");
    assert_eq!(node["live_revision"], json!(good));
    assert_eq!(node["last_error"]["revision"], json!(bad));
    let status = rest
        .get(&format!("/v1/revisions/{bad}/status?wait=0s&nodes=all"))
        .await;
    assert_eq!(status["live"], json!(false));
    assert!(
        status["waiting"][0]["reason"]
            .as_str()
            .is_some_and(|r| r.contains("busy")),
        "{status}"
    );
    let text = reqwest::get(&url)
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    assert_eq!(text, "old", "the old configuration serves");
    let (code, table, _) = fleetway(server.rest, &["status"]).await;
    assert_eq!(code, 0);
    assert!(
        table.contains("REJECTED") && table.contains("listeners/busy"),
        "{table}"
    );

    busy["address"] = json!("127.0.0.1:0");
    let healed = rest.commit(&[busy], &[]).await;
    rest.live(healed, 1).await;
    let node: Value = rest.get("/v1/nodes/p1").await;
    assert_eq!(node["state"], json!("LIVE"));
    assert!(node.get("last_error").is_none_or(Value::is_null), "{node}");
    let text = reqwest::get(&url)
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    assert_eq!(text, "new");
}
