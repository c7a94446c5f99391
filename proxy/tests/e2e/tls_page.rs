//! The configuration of `docs/tls.md` does what the page says.

use std::fs;

use crate::support::{Authority, Nginx, Proxy, page_with_texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_of_the_page_serves() {
    let (ca, internal) = (Authority::new("Test CA"), Authority::new("Internal CA"));
    let nginx = Nginx::asking(&internal.issue(&["shop.internal"]), &internal).await;
    let (api, edge) = (ca.issue(&["api.example.com"]), internal.issue(&["edge"]));
    let texts = [
        ("<chain of api.example.com>", &api.chain),
        ("<key of api.example.com>", &api.key),
        ("<authority of the clients>", &ca.pem),
        ("<authority of the upstreams>", &internal.pem),
        ("<chain of the proxy>", &edge.chain),
        ("<key of the proxy>", &edge.key),
    ];
    let text = page_with_texts("tls.md", &texts);
    let text = text
        .replace("0.0.0.0:8443", "127.0.0.1:0")
        .replace("10.0.0.1:8443", &nginx.address.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tls.yaml"), text).expect("written");
    let proxy = Proxy::of_folder(folder.path()).await;

    let web = proxy.listener("web").await;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(ca.client_config())
        .resolve("api.example.com", web)
        .build()
        .expect("a client");
    let url = format!("https://api.example.com:{}/", web.port());
    let answer = client.get(&url).send().await.expect("an answer");
    let text = answer.text().await.expect("a text");
    assert!(
        text.starts_with("sni=shop.internal client=CN=edge"),
        "{text}"
    );
}
