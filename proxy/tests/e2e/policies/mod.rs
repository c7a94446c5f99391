//! Policies on the way of requests, in the real programs.

mod bodies;
mod context;
mod failures;
mod languages;
mod order;
mod outbound;
mod retries;
mod routing;
mod swap;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use tempfile::TempDir;

use crate::support::{Proxy, Server, Surroundings, Upstream, documents, eventually};

/// Where a component is in `testdata/policies`.
fn path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/policies");
    root.join(format!("{name}.wasm"))
}

/// The bytes of a component there.
fn component(name: &str) -> Vec<u8> {
    fs::read(path(name)).expect("a component")
}

/// A server with components, a proxy, and an upstream that says what it was sent.
struct Fleet {
    server: Server,
    proxy: Proxy,
    echo: Upstream,
    /// The digests of the components.
    probe: String,
    hostile: String,
    logs: TempDir,
}

/// An answer: its status, its fields and its body.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    /// The values of a field, in order.
    fn values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("text")).collect()
    }

    /// The JSON of a field.
    fn json(&self, name: &str) -> Value {
        let values = self.values(name);
        let value = values
            .first()
            .unwrap_or_else(|| panic!("no {name}: {}", self.text));
        serde_json::from_str(value).expect("JSON")
    }

    /// The lines of the body, each a field of the request as the upstream got it.
    fn sent(&self, name: &str) -> Vec<&str> {
        let lines = self.text.lines().filter_map(|line| line.split_once(": "));
        let named = lines.filter(|(known, _)| *known == name);
        named.map(|(_, value)| value).collect()
    }
}

impl Fleet {
    async fn start() -> Self {
        let echo = Upstream::answering(|head, body| {
            let mut text = format!("{} {}\n", head.method, head.uri);
            for (name, value) in &head.headers {
                text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
            text += &format!("body: {}\n", String::from_utf8_lossy(&body));
            http::Response::builder()
                .header("x-upstream", "1")
                .body(text)
                .expect("a response")
        })
        .await;
        let server = Server::start().await;
        let mut digests = Vec::new();
        for name in ["probe", "hostile"] {
            let (status, answer) = server.client().put_component(component(name)).await;
            assert_eq!(status, 201, "{answer:#}");
            digests.push(answer["name"].as_str().expect("a name").to_owned());
        }
        let logs = TempDir::new().expect("a folder");
        let surroundings = Surroundings {
            log: Some(logs.path().join("proxy")),
            ..Surroundings::default()
        };
        let xds = format!("http://{}", server.xds);
        let flags = ["--xds", &xds, "--node-id", "p1", "--fleet", "blue"];
        let proxy = Proxy::start_in(surroundings, &flags).await;
        let [probe, hostile] = digests.try_into().expect("two");
        Self {
            server,
            proxy,
            echo,
            probe,
            hostile,
            logs,
        }
    }

    /// Waits for a line of the proxy's log that has all of this.
    async fn line(&self, all: &[&str]) -> String {
        eventually(&format!("{all:?} in the log"), async || {
            let log = fs::read_to_string(self.logs.path().join("proxy")).ok()?;
            let has = |line: &&str| all.iter().all(|part| line.contains(part));
            log.lines().find(has).map(str::to_owned)
        })
        .await
    }

    /// A policy that does at each stage what a field of the request says.
    fn told_by_fields(&self, name: &str) -> Value {
        let from = |stage: &str| json!([{"from_header": {"name": format!("x-{name}-{stage}")}}]);
        json!({
            "kind": "Policy", "name": name, "component": self.probe, "body": "NONE",
            "limits": {"timeout": "5s"},
            "config": {
                "pre_route": from("route"),
                "pre_upstream": from("upstream"),
                "post_response": from("response"),
            },
        })
    }

    /// A policy that does what its configuration says.
    fn policy(&self, name: &str, config: Value) -> Value {
        json!({
            "kind": "Policy", "name": name, "component": self.probe, "config": config, "body": "NONE",
            "limits": {"timeout": "5s"},
        })
    }

    /// Puts documents in force, with a listener that has these policies, a cluster and a route of
    /// everything that has those.
    async fn commit(&self, listener: Value, route: Value, others: &[Value]) -> String {
        let mut web = documents::listener("web");
        web["http"] = json!({"policies": listener});
        let mut all = documents::forward("all", "/", "echo");
        all["policies"] = route;
        all["labels"] = json!({"team": "checkout"});
        let mut documents = others.to_vec();
        documents.extend([web, documents::cluster("echo", self.echo.address), all]);
        self.server.client().commit_live(&documents, 1).await;
        let web = self.proxy.listener("web").await;
        format!("http://{web}")
    }
}

/// A policy at all stages, or at one.
fn at(policy: &str, stages: &[&str]) -> Value {
    let at = |stage: &&str| json!({"policy": policy, "stage": stage});
    stages.iter().map(at).collect()
}

const ALL: [&str; 3] = ["PRE_ROUTE", "PRE_UPSTREAM", "POST_RESPONSE"];

/// Sends a request with these fields, JSON as it is.
async fn send(request: reqwest::RequestBuilder, fields: &[(&str, Value)]) -> Answer {
    let mut request = request;
    for (name, value) in fields {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        request = request.header(*name, text);
    }
    let answer = request.send().await.expect("an answer");
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.expect("a whole answer"),
    }
}

async fn get(url: &str, fields: &[(&str, Value)]) -> Answer {
    send(reqwest::Client::new().get(url), fields).await
}
