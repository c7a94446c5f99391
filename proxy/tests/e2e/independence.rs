//! A proxy does not need its server to serve.

use serde_json::Value;

use crate::support::{Proxy, Server, documents, eventually};

async fn text(url: &str) -> String {
    reqwest::get(url)
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_serves_on_without_its_server_and_restarts_from_its_disk() {
    let mut server = Server::start().await;
    let mut proxy = Proxy::of(&server, "p1", "blue").await;
    let rest = server.client();
    let first = [
        documents::listener("web"),
        documents::respond("r", "/", "kept"),
    ];
    let revision = rest.commit_live(&first, 1).await;

    server.kill().await;
    assert_eq!(
        text(&format!("http://{}/", proxy.listener("web").await)).await,
        "kept"
    );
    // What is written to disk is written beside the requests; the last of it is waited for.
    eventually("the last good configuration is on disk", async || {
        proxy.has_on_disk("kept").then_some(())
    })
    .await;
    proxy.restart().await;
    assert_eq!(
        text(&format!("http://{}/", proxy.listener("web").await)).await,
        "kept"
    );
    assert_eq!(proxy.page("/readyz").await.0, 200);
    let (_, dump) = proxy.page("/config_dump").await;
    let dump: Value = serde_json::from_str(&dump).expect("JSON");
    assert_eq!(dump["revision"], revision);
    assert_eq!(dump["source"]["origin"], "disk", "{dump:#}");

    server.restart().await;
    let next = server
        .client()
        .commit(&[documents::respond("r", "/", "new")], &[])
        .await;
    server.client().live(next, 1).await;
    assert_eq!(
        text(&format!("http://{}/", proxy.listener("web").await)).await,
        "new"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_takes_nothing_from_proxies_and_its_numbers_are_not_mistaken_for_new_ones() {
    let mut server = Server::start().await;
    let proxy = Proxy::of(&server, "p1", "blue").await;
    let with = |body| {
        [
            documents::listener("web"),
            documents::respond("r", "/", body),
        ]
    };
    server.client().commit_live(&with("of the old"), 1).await;
    let url = format!("http://{}/", proxy.listener("web").await);

    server.lose_store().await;
    eventually("the proxy is connected", async || {
        let nodes = server.client().get("/v1/nodes").await;
        (nodes["items"].get(0)?.get("state")? == "PENDING").then_some(())
    })
    .await;
    assert_eq!(text(&url).await, "of the old");
    // Revision 1 again, with a route of version 1 again.
    assert_eq!(server.client().commit_live(&with("of the new"), 1).await, 1);
    assert_eq!(text(&url).await, "of the new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_gets_the_resources_of_its_fleet_only() {
    let server = Server::start().await;
    let blue = Proxy::of(&server, "p1", "blue").await;
    let green = Proxy::of(&server, "p2", "green").await;
    let mut listener = documents::listener("web");
    listener["fleets"] = serde_json::json!(["blue"]);
    let mut other = documents::listener("other");
    other["fleets"] = serde_json::json!(["green"]);
    let all = [listener, other, documents::respond("r", "/", "both")];
    server.client().commit_live(&all, 2).await;
    assert_eq!(
        text(&format!("http://{}/", blue.listener("web").await)).await,
        "both"
    );
    assert_eq!(
        text(&format!("http://{}/", green.listener("other").await)).await,
        "both"
    );
    assert!(!blue.page("/listeners").await.1.contains("other"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_files_is_served_and_watched_and_a_bad_edit_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.yaml");
    let write = |body: &str| {
        let text = format!(
            "{{kind: Listener, name: web, address: '127.0.0.1:0', http: {{}}}}\n---\n\
             {{kind: Route, name: r, respond: {{status: 200, body: {body}}}}}\n"
        );
        std::fs::write(&file, text).expect("a file");
    };
    write("first");
    let proxy = Proxy::of_folder(folder.path()).await;
    let url = format!("http://{}/", proxy.listener("web").await);
    assert_eq!(text(&url).await, "first");
    write("second");
    eventually("the edit is served", async || {
        (text(&url).await == "second").then_some(())
    })
    .await;
    write("[not, a, body]");
    eventually("the fault is told", async || {
        let (_, dump) = proxy.page("/config_dump").await;
        dump.contains("respond.body").then_some(())
    })
    .await;
    assert_eq!(text(&url).await, "second");
    write("third");
    eventually("the mended file is served", async || {
        (text(&url).await == "third").then_some(())
    })
    .await;
}
