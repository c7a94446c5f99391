//! What takes a store that fails or a server that is not ready.

use std::path::Path;

use fleetway_api::{proto::v1, rest::Problem};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::store::{Commit, Loaded, Receipt, RevisionHead, SledStore, Store, StoreError};

/// A store that can be made to refuse writes.
#[derive(Debug)]
struct Faulty {
    store: SledStore,
    failing: AtomicBool,
}

impl Store for Faulty {
    fn keeps_secrets(&self) -> bool {
        self.store.keeps_secrets()
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load()
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::Io("no space left on device".into()));
        }
        self.store.commit(commit)
    }

    fn keep(&self, key: &str, receipt: &Receipt) -> Result<(), StoreError> {
        self.store.keep(key, receipt)
    }

    fn revision(&self, number: u64) -> Result<Option<v1::Revision>, StoreError> {
        self.store.revision(number)
    }

    fn revisions(&self, before: u64, limit: usize) -> Result<Vec<RevisionHead>, StoreError> {
        self.store.revisions(before, limit)
    }

    fn receipt(&self, key: &str) -> Result<Option<Receipt>, StoreError> {
        self.store.receipt(key)
    }
}

fn app(dir: &Path) -> (Arc<Faulty>, Arc<App>) {
    let store = Arc::new(Faulty {
        store: SledStore::open(dir, None).unwrap(),
        failing: AtomicBool::new(true),
    });
    let app = App {
        committer: Committer::open(store.clone(), 0).unwrap(),
        fleet: Arc::default(),
        metrics: Metrics::default(),
        ready: AtomicBool::new(false),
        max_body_bytes: 1000,
        max_component_bytes: 1000,
        uploads: tokio::sync::Semaphore::new(UPLOADS),
        stopping: CancellationToken::new(),
    };
    (store, Arc::new(app))
}

async fn send(app: &Arc<App>, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router(app.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_write_the_store_does_not_take_is_answered_503_and_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let (store, app) = app(dir.path());
    let (status, body) = send(&app, Method::PUT, "/v1/clusters/a", "{}").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(problem.code, fleetway_api::rest::Code::StoreUnavailable);
    assert!(problem.detail.contains("no space left"), "{body}");
    assert_eq!(app.committer.snapshot().revision(), 0);
    let (status, _) = send(&app, Method::GET, "/v1/clusters/a", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, metrics) = send(&app, Method::GET, "/metrics", "").await;
    let counted = "fleetway_xds_commit_failures_total{reason=\"store\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");

    store.failing.store(false, Ordering::Relaxed);
    let (status, _) = send(&app, Method::PUT, "/v1/clusters/a", "{}").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(app.committer.snapshot().revision(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_so_and_still_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (_, app) = app(dir.path());
    let (status, _) = send(&app, Method::GET, "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let (status, _) = send(&app, Method::GET, "/healthz", "").await;
    assert_eq!(status, StatusCode::OK);
    app.ready.store(true, Ordering::Relaxed);
    let (status, _) = send(&app, Method::GET, "/readyz", "").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn only_what_makes_a_revision_is_counted_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, app) = app(dir.path());
    store.failing.store(false, Ordering::Relaxed);
    let refused = "{\"connect_timeout\": \"0s\"}";
    for (path, body) in [
        ("/v1/clusters/a", "{}"),
        ("/v1/clusters/a", "{}"),
        ("/v1/clusters/b?dry_run=true", "{}"),
        ("/v1/clusters/c", refused),
        ("/v1/clusters/b", "{}"),
    ] {
        send(&app, Method::PUT, path, body).await;
    }
    let (_, metrics) = send(&app, Method::GET, "/metrics", "").await;
    for line in [
        "fleetway_xds_revision 2\n",
        "fleetway_xds_commits_total 2\n",
        "fleetway_xds_commit_failures_total{reason=\"rejected\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn a_wait_that_the_end_of_the_server_cuts_off_is_no_time_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, app) = app(dir.path());
    store.failing.store(false, Ordering::Relaxed);
    send(&app, Method::PUT, "/v1/clusters/a", "{}").await;
    let node = crate::delta::Identity {
        id: "p1".to_owned(),
        fleet: "edge".to_owned(),
        build: "proxy 1".to_owned(),
    };
    let _open = app.fleet.open(1, node, "127.0.0.1:1".to_owned()).unwrap();
    app.stopping.cancel();
    let path = "/v1/revisions/1/status";
    let (status, body) = send(&app, Method::GET, &format!("{path}?wait=5m"), "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!(problem.code, fleetway_api::rest::Code::ShuttingDown);
    let (status, body) = send(&app, Method::GET, path, "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
}
