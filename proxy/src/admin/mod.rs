//! The admin page: what this proxy serves and how it fares. Read only; on loopback by default.

mod certificates;
mod policies;
mod source;

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use fleetway_api::{Id, Kind, Name, Resource, document};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{runtime::Runtime, snapshot::Origin, telemetry::Rendered};

/// What the admin page reads.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The workers and their snapshot.
    pub runtime: Arc<Runtime>,
    /// Cancelled once the proxy is to take no new work.
    pub draining: CancellationToken,
    /// How the source of the configuration fares.
    pub status: crate::xds::Status,
}

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers may still take once the proxy has stopped: no client can hold it up.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long to wait when a connection cannot be accepted.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Serves the admin page until `shutdown`. On return no connection is left.
pub async fn serve(socket: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let pages = Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/config_dump", get(config_dump))
        .route("/listeners", get(listeners))
        .route("/policies", get(policies))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(socket.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, pages.clone(), shutdown.clone()));
            }
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, pages: Router, shutdown: CancellationToken) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    let mut serving = pin!(serving);
    // What a client does to its connection is no fault of the proxy.
    if shutdown
        .run_until_cancelled(serving.as_mut())
        .await
        .is_none()
    {
        serving.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWERS, serving).await;
    }
}

async fn index() -> &'static str {
    "fleetway-proxy\n\n\
     /healthz      this process answers\n\
     /readyz       it has a configuration and takes requests\n\
     /config_dump  what it serves: source, revision, every resource with its version\n\
     /listeners    the addresses it listens on\n\
     /policies     how the calls of each policy went, and which keep failing\n\
     /metrics      its counters, in Prometheus' text form\n"
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if admin.runtime.snapshot().origin == Origin::Nowhere {
        (StatusCode::SERVICE_UNAVAILABLE, "no configuration yet\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

#[derive(Debug, Serialize)]
struct Dump {
    /// The revision in force, as the server numbers them.
    revision: u64,
    /// When it was committed; absent where unknown.
    committed_at: Option<String>,
    /// When this proxy put it in force.
    applied_at: Option<String>,
    /// Where it came from and how that fares.
    source: Value,
    /// Every resource with `meta.version`.
    resources: Vec<Value>,
}

async fn config_dump(State(admin): State<Admin>) -> Json<Dump> {
    let (snapshot, held) = (admin.runtime.snapshot(), admin.status.held());
    let resources = held
        .resources()
        .iter()
        .map(|entry| {
            let message = held.message(&entry.resource.id());
            let mut document =
                message.map_or(Value::Null, |message| document::write(&message, None));
            if let Value::Object(fields) = &mut document {
                let version = entry.data.version.to_string();
                let meta = match &entry.resource {
                    Resource::Secret(secret) => certificates::meta(secret, &version),
                    _ => json!({"version": version}),
                };
                fields.insert("meta".into(), meta);
            }
            document
        })
        .collect();
    Json(Dump {
        revision: snapshot.revision,
        committed_at: time(snapshot.time_ms),
        applied_at: time(snapshot.applied_ms),
        source: source::describe(&admin.status.report()),
        resources,
    })
}

async fn listeners(State(admin): State<Admin>) -> Json<Value> {
    let addresses = admin.runtime.addresses();
    let addresses = addresses.borrow().clone();
    Json(json!(addresses))
}

async fn policies(State(admin): State<Admin>) -> Json<Value> {
    let snapshot = admin.runtime.snapshot();
    let shared = snapshot.policies.shared().map(AsRef::as_ref);
    Json(policies::describe(shared))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let snapshot = admin.runtime.snapshot();
    let mut out = Rendered::default();
    out.gauge("fleetway_revision", "", snapshot.revision);
    let overload = admin.runtime.overload();
    if let Ok(resident) = overload.resident() {
        out.gauge("fleetway_memory_resident_bytes", "", resident);
    }
    out.gauge("fleetway_memory_limit_bytes", "", overload.limit());
    for kind in Kind::ALL {
        let count = snapshot.resources.of(kind).len() as u64;
        out.gauge("fleetway_resources", &format!("kind=\"{kind}\""), count);
    }
    for (name, listener) in &snapshot.listeners {
        listener.counters.render(name.as_str(), &mut out);
        if listener.tls.is_some() {
            listener.counters.render_tls(name.as_str(), &mut out);
        }
        if listener.access_log.is_some() {
            listener.counters.render_access_log(name.as_str(), &mut out);
        }
    }
    for cluster in snapshot.clusters() {
        cluster.counters.render(cluster.name.as_str(), &mut out);
        if cluster.tls.is_some() {
            cluster.counters.render_tls(cluster.name.as_str(), &mut out);
        }
    }
    let is_route = |name: &Name| {
        let id = Id::new(Kind::Route, name.clone());
        snapshot.resources.get(&id).is_some()
    };
    snapshot.latencies.render(is_route, &mut out);
    certificates::render(&snapshot.resources, &mut out);
    let policies = snapshot.policies.shared().map(AsRef::as_ref);
    policies::render(policies, &mut out);
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        out.into_text(),
    )
}

fn time(ms: i64) -> Option<String> {
    (ms != 0)
        .then(|| jiff::Timestamp::from_millisecond(ms).ok())?
        .map(|time| time.to_string())
}
