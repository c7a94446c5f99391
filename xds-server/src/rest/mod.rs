//! The REST interface: every path, and the way of a request from its head to its answer.

mod components;
mod condition;
mod failure;
mod health;
mod input;
mod list;
mod nodes;
mod openapi;
mod origin;
mod reply;
mod resources;
mod revisions;
mod serve;
mod transactions;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts as _, RawPathParams, Request, State},
    http::request::Parts,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, on},
};
use fleetway_api::{Kind, document::Format};
use http::Method;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    commit::{CommitError, Committed, Committer, Transaction},
    fleet::Fleet,
    metrics::Metrics,
};
pub use components::UPLOADS;
use failure::Failure;
pub(crate) use serve::{Limits, serve};

/// What the handlers work with.
#[derive(Debug)]
pub struct App {
    /// The one writer.
    pub committer: Committer,
    /// What each node has.
    pub fleet: Arc<Fleet>,
    /// The counters.
    pub metrics: Metrics,
    /// Whether the server takes requests: set once everything is up, unset when it stops.
    pub ready: AtomicBool,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// The largest component, in bytes.
    pub max_component_bytes: usize,
    /// Places for uploads of components: [`UPLOADS`] of them.
    pub uploads: Semaphore,
    /// Cancelled when the server stops; what waits is then answered at once.
    pub stopping: CancellationToken,
}

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    List(Kind),
    Create(Kind),
    Get(Kind),
    Put(Kind),
    Patch(Kind),
    Delete(Kind),
    Upload,
    Wasm,
    Transact,
    Revisions,
    Revision,
    Status,
    Nodes,
    Node,
    Version,
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
}

/// A path with a method.
#[derive(Debug, Clone)]
struct Endpoint {
    method: Method,
    path: String,
    operation: Operation,
}

/// Everything the interface has. The router and `/openapi.json` are both made from it.
fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    let mut add = |method, path: String, operation| {
        endpoints.push(Endpoint {
            method,
            path,
            operation,
        });
    };
    for kind in [
        Kind::Listener,
        Kind::Route,
        Kind::Cluster,
        Kind::Endpoints,
        Kind::Secret,
        Kind::Policy,
        Kind::Component,
    ] {
        let all = format!("/v1/{}", kind.plural());
        let one = format!("{all}/{{name}}");
        add(Method::GET, all.clone(), Operation::List(kind));
        if kind == Kind::Component {
            // Named by its bytes, it is made of them alone.
            add(Method::PUT, all, Operation::Upload);
            add(Method::GET, format!("{one}/wasm"), Operation::Wasm);
        } else {
            add(Method::POST, all, Operation::Create(kind));
        }
        add(Method::GET, one.clone(), Operation::Get(kind));
        add(Method::PUT, one.clone(), Operation::Put(kind));
        add(Method::PATCH, one.clone(), Operation::Patch(kind));
        add(Method::DELETE, one, Operation::Delete(kind));
    }
    for (method, path, operation) in [
        (Method::POST, "/v1/transactions", Operation::Transact),
        (Method::GET, "/v1/revisions", Operation::Revisions),
        (Method::GET, "/v1/revisions/{n}", Operation::Revision),
        (Method::GET, "/v1/revisions/{n}/status", Operation::Status),
        (Method::GET, "/v1/nodes", Operation::Nodes),
        (Method::GET, "/v1/nodes/{id}", Operation::Node),
        (Method::GET, "/v1/version", Operation::Version),
        (Method::GET, "/healthz", Operation::Healthz),
        (Method::GET, "/readyz", Operation::Readyz),
        (Method::GET, "/metrics", Operation::Metrics),
        (Method::GET, "/openapi.json", Operation::OpenApi),
    ] {
        add(method, path.to_owned(), operation);
    }
    endpoints
}

/// The service of the whole interface.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints() {
        let operation = endpoint.operation;
        let handler = move |State(app): State<Arc<App>>, request: Request| async move {
            Box::pin(answer(operation, app, request)).await
        };
        // Every method of the table has a filter.
        let filter = MethodFilter::try_from(endpoint.method).unwrap_or(MethodFilter::GET);
        router = router.route(&endpoint.path, on(filter, handler));
    }
    router
        .fallback(
            |request: Request| async move { Failure::NoSuchPath(request.uri().path().to_owned()) },
        )
        .method_not_allowed_fallback(|request: Request| async move {
            Failure::MethodNotAllowed {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
            }
        })
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = match origin::check(&request) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    app.metrics.answered(response.status());
    response
}

/// A request on its way to an answer.
struct Call {
    app: Arc<App>,
    /// What stands in the path for `{name}`, `{id}` or `{n}`.
    target: String,
    parts: Parts,
    body: Body,
    /// The form of the answer.
    format: Format,
}

async fn answer(operation: Operation, app: Arc<App>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let target = match RawPathParams::from_request_parts(&mut parts, &app).await {
        Ok(params) => params.iter().next().map(|(_, value)| value.to_owned()),
        Err(rejection) => return Failure::bad("path", rejection.body_text()).into_response(),
    };
    let call = Call {
        format: reply::accepted(&parts.headers),
        target: target.unwrap_or_default(),
        app,
        parts,
        body,
    };
    let result = match operation {
        Operation::List(kind) => list::list(kind, call).await,
        Operation::Create(kind) => resources::write(kind, call, resources::Write::Create).await,
        Operation::Get(kind) => resources::get(kind, &call),
        Operation::Put(kind) => resources::write(kind, call, resources::Write::Put).await,
        Operation::Patch(kind) => resources::write(kind, call, resources::Write::Patch).await,
        Operation::Delete(kind) => resources::delete(kind, call).await,
        Operation::Upload => components::upload(call).await,
        Operation::Wasm => components::wasm(&call),
        Operation::Transact => transactions::transact(call).await,
        Operation::Revisions => revisions::list(call).await,
        Operation::Revision => revisions::get(call).await,
        Operation::Status => nodes::status(call).await,
        Operation::Nodes => nodes::list(&call),
        Operation::Node => nodes::get(&call),
        Operation::Version => health::version(&call),
        Operation::Healthz => health::healthz(&call),
        Operation::Readyz => health::readyz(&call),
        Operation::Metrics => health::metrics(&call),
        Operation::OpenApi => openapi::serve(&call),
    };
    result.unwrap_or_else(Failure::into_response)
}

impl App {
    /// Runs what blocks, on the store or for long, off the event loop. It goes on to its end even
    /// if the client goes away.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        tokio::task::spawn_blocking(move || work(&self))
            .await
            .unwrap_or_else(|error| Err(Failure::Internal(format!("the work broke off: {error}"))))
    }

    /// Makes a transaction and counts it.
    pub(crate) fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        let dry_run = transaction.dry_run;
        let result = self.committer.commit(transaction);
        let counter = match &result {
            _ if dry_run => return result,
            Ok(committed) if !committed.new => return result,
            Ok(_) => &self.metrics.commits,
            Err(CommitError::Store(_)) => &self.metrics.store_failures,
            Err(_) => &self.metrics.rejected,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests;
