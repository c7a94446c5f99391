//! The admin page: what this proxy serves and how it fares. Read only; on loopback by default.

mod source;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use fleetway_api::document;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

/// Serves the admin page until `shutdown`.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    socket: TcpListener,
    admin: Admin,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let pages = Router::new()
        .route("/", get(index))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/config_dump", get(config_dump))
        .route("/listeners", get(listeners))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(socket, pages)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn index() -> &'static str {
    "fleetway-proxy\n\n\
     /healthz      this process answers\n\
     /readyz       it has a configuration and takes requests\n\
     /config_dump  what it serves: source, revision, every resource with its version\n\
     /listeners    the addresses it listens on\n\
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
                fields.insert(
                    "meta".into(),
                    json!({"version": entry.data.version.to_string()}),
                );
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

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let snapshot = admin.runtime.snapshot();
    let mut out = Rendered::default();
    out.gauge("fleetway_revision", "", snapshot.revision);
    for kind in fleetway_api::Kind::ALL {
        let count = snapshot.resources.of(kind).len() as u64;
        out.gauge("fleetway_resources", &format!("kind=\"{kind}\""), count);
    }
    for (name, listener) in &snapshot.listeners {
        listener.counters.render(name.as_str(), &mut out);
    }
    for cluster in snapshot.clusters() {
        cluster.counters.render(cluster.name.as_str(), &mut out);
    }
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
