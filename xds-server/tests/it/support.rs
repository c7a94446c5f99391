//! A server in this process, and a client for it.

use std::{net::SocketAddr, path::Path, time::Duration};

use fleetway_api::rest::{Code, Problem};
use fleetway_xds::{
    app::{self, Running},
    config::Config,
    store::MasterKey,
};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";

pub(crate) struct Server {
    running: Option<Running>,
    config: Config,
    _dir: TempDir,
    base: String,
    client: reqwest::Client,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

pub(crate) fn config(data: &Path) -> Config {
    Config {
        data: data.to_owned(),
        rest: ([127, 0, 0, 1], 0).into(),
        xds: ([127, 0, 0, 1], 0).into(),
        log: "off".into(),
        keep_revisions: 10_000,
        max_body_bytes: 1 << 20,
        max_component_size: 64 << 20,
        component_retention: None,
        drain_timeout: Duration::from_secs(5),
        tls: None,
        master_key: Some(MasterKey::generate().unwrap()),
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let running = app::start(&config).await.unwrap();
        Self {
            base: format!("http://{}", running.rest),
            running: Some(running),
            config,
            _dir: dir,
            client: reqwest::Client::new(),
        }
    }

    /// Stops and starts again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.client = reqwest::Client::new();
        self.running.take().unwrap().stop().await.unwrap();
        let running = app::start(&self.config).await.unwrap();
        self.base = format!("http://{}", running.rest);
        self.running = Some(running);
    }

    /// The same with other settings.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.restart().await;
    }

    pub(crate) async fn stop(mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    /// Where the streams are served.
    /// `http://` and the REST interface's address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn xds(&self) -> SocketAddr {
        self.running.as_ref().unwrap().xds
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.with(Method::PUT, path, &[("content-type", YAML)], body)
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.with(Method::POST, path, &[("content-type", YAML)], body)
            .await
    }

    pub(crate) async fn patch(&self, path: &str, body: &str) -> Answer {
        self.with(Method::PATCH, path, &[("content-type", YAML)], body)
            .await
    }

    pub(crate) async fn with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = self.request(method, path).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request).await
    }

    /// Puts a cluster.
    pub(crate) async fn with_cluster(self) -> Self {
        self.put("/v1/clusters/a", "{endpoints: [{address: '10.0.0.1:80'}]}")
            .await
            .expect(StatusCode::CREATED);
        self
    }

    /// Puts a cluster and a route to it, as revisions 1 and 2.
    pub(crate) async fn with_route(self) -> Self {
        let server = self.with_cluster().await;
        server
            .put("/v1/routes/users", ROUTE)
            .await
            .expect(StatusCode::CREATED);
        server
    }
}

/// Writes a file that is for its owner alone, as a key is to be.
pub(crate) fn write_private(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).unwrap();
    set_mode(path, 0o600);
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).unwrap();
}

pub(crate) const ROUTE: &str =
    "{match: {path: {prefix: /users}}, forward: {clusters: [{name: a}], timeout: 2s}}";

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.expect(StatusCode::OK)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), JSON, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The problem, which must be of this kind, status and media type.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: Code) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Problem = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem.code, code, "{}", self.text);
        assert_eq!((problem.status, self.status.as_u16()), (status, status));
        assert!(!problem.detail.is_empty() || !problem.errors.is_empty());
        problem
    }

    /// The faults of the problem, as they print.
    #[track_caller]
    pub(crate) fn faults(&self, status: u16, code: Code) -> Vec<String> {
        let problem = self.problem(status, code);
        problem.errors.iter().map(ToString::to_string).collect()
    }
}
