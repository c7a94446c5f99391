//! A REST client as a pipeline would write one.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Rest {
    base: String,
    http: reqwest::Client,
}

impl Rest {
    /// A client for the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            base: format!("http://{address}"),
            http: reqwest::Client::new(),
        }
    }

    /// Whether the server is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Reads a path.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self
            .http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// Uploads a component; status and answer.
    pub async fn put_component(&self, bytes: Vec<u8>) -> (u16, Value) {
        let put = self.http.put(format!("{}/v1/components", self.base));
        let put = put.header("content-type", "application/wasm").body(bytes);
        let answer = put.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    /// Commits documents and deletions as one transaction; status and answer, or the fault of the
    /// connection.
    pub async fn try_transaction(
        &self,
        puts: &[Value],
        deletes: &[(&str, &str)],
    ) -> Result<(u16, Value), reqwest::Error> {
        let mut operations: Vec<Value> = puts.iter().map(|put| json!({"put": put})).collect();
        operations.extend(
            deletes
                .iter()
                .map(|(kind, name)| json!({"delete": {"kind": kind, "name": name}})),
        );
        let body = json!({"message": "test", "operations": operations});
        let url = format!("{}/v1/transactions", self.base);
        let answer = self.http.post(url).json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Commits documents and deletions as one transaction; the revision.
    pub async fn commit(&self, puts: &[Value], deletes: &[(&str, &str)]) -> u64 {
        let (status, answer) = self
            .try_transaction(puts, deletes)
            .await
            .expect("an answer");
        assert_eq!(status, 200, "{answer:#}");
        answer["revision"].as_u64().expect("a revision")
    }

    /// Waits until every connected node has `revision` live.
    pub async fn live(&self, revision: u64, nodes: usize) {
        super::eventually("every node is live", async || {
            let status = self
                .get(&format!(
                    "/v1/revisions/{revision}/status?wait=10s&nodes=all"
                ))
                .await;
            let connected = status["nodes"].as_u64() >= Some(nodes as u64);
            (connected && status["live"] == json!(true)).then_some(())
        })
        .await;
    }

    /// Commits and waits until `nodes` nodes have it live.
    pub async fn commit_live(&self, puts: &[Value], nodes: usize) -> u64 {
        let revision = self.commit(puts, &[]).await;
        self.live(revision, nodes).await;
        revision
    }
}

/// The documents the tests write.
pub mod documents {
    use super::{SocketAddr, Value, json};

    /// A listener on a free port.
    pub fn listener(name: &str) -> Value {
        json!({"kind": "Listener", "name": name, "address": "127.0.0.1:0", "http": {}})
    }

    /// A cluster with one endpoint.
    pub fn cluster(name: &str, endpoint: SocketAddr) -> Value {
        json!({"kind": "Cluster", "name": name, "endpoints": [{"address": endpoint.to_string()}]})
    }

    /// A route of everything under `prefix` to a cluster.
    pub fn forward(name: &str, prefix: &str, cluster: &str) -> Value {
        json!({
            "kind": "Route", "name": name, "match": {"path": {"prefix": prefix}},
            "forward": {"clusters": [{"name": cluster}]},
        })
    }

    /// A route of everything under `prefix` to a fixed answer.
    pub fn respond(name: &str, prefix: &str, body: &str) -> Value {
        json!({
            "kind": "Route", "name": name, "match": {"path": {"prefix": prefix}},
            "respond": {"status": 200, "body": body},
        })
    }
}
