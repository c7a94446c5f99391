//! What is taken down of a request, from its head to the end of its response: how long it took, and
//! its line in the access log.

use std::{mem, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use fleetway_api::Name;
use fleetway_policy_runtime::{Annotation, Notebook};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header, request::Parts,
};
use tokio::time::Instant;

use super::{
    Connection, Failure,
    local::{Local, View},
    watchdog::{Activity, Expired},
};
use crate::{
    access_log::{Line, field},
    clock,
    cluster::Cluster,
    http1::HeadError,
    relay::Cut,
    route::Routed as _,
    snapshot::BoundRoute,
    telemetry::Histogram,
    tls::TlsFacts,
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What is taken down of one request. Dropped before its end, it tells of a request that was cut.
#[derive(Debug)]
pub struct Record {
    began: Instant,
    route: Option<Arc<Histogram>>,
    /// Where the listener has an access log. Boxed: most have none.
    entry: Option<Box<Entry>>,
}

/// A line that is not whole yet.
#[derive(Debug)]
struct Entry {
    line: Line,
    local: Rc<Local>,
    /// What the request is served by, and with it the log.
    view: Rc<View>,
    /// Knows of the bytes of the request's body.
    activity: Option<Activity>,
    status: Option<StatusCode>,
    grpc_status: Option<HeaderValue>,
    /// The route that has it.
    route: Option<Name>,
    /// The cluster it goes to.
    cluster: Option<Name>,
    /// The endpoint it was sent to last, and how often it was sent.
    endpoint: Option<SocketAddr>,
    attempts: u32,
    notebook: Option<Notebook>,
    cause: Option<&'static str>,
    head: Option<Duration>,
    received: u64,
    sent: u64,
}

impl Record {
    /// Of a request that has come.
    pub(super) fn begin(
        connection: &Connection,
        view: &Rc<View>,
        head: &Parts,
        id: &HeaderValue,
    ) -> Self {
        let entry = view.listener.access_log.is_some();
        Self {
            began: clock::now(),
            route: None,
            entry: entry.then(|| Box::new(Entry::begin(connection, view, head, id))),
        }
    }

    /// When it came.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// A route takes it.
    pub(super) fn matched(&mut self, connection: &Connection, view: &View, bound: &BoundRoute) {
        let (worker, workers) = (connection.local.worker, view.listener.counters.workers());
        self.route = bound.latency(&view.snapshot.latencies, worker, workers);
        if let Some(entry) = &mut self.entry {
            // A policy can move it to another.
            entry.route = Some(bound.route().common.name.clone());
        }
    }

    /// It goes to an endpoint.
    pub(super) fn sent_to(&mut self, cluster: &Cluster, endpoint: SocketAddr) {
        if let Some(entry) = &mut self.entry {
            entry.cluster = Some(cluster.name.clone());
        }
        self.sent_again(endpoint);
    }

    /// It goes to an endpoint of the same cluster.
    pub(super) fn sent_again(&mut self, endpoint: SocketAddr) {
        if let Some(entry) = &mut self.entry {
            entry.endpoint = Some(endpoint);
            entry.attempts += 1;
        }
    }

    /// Who knows of the bytes of its body.
    pub(super) fn watch(&mut self, activity: &Activity) {
        if let Some(entry) = &mut self.entry {
            entry.activity = Some(activity.clone());
        }
    }

    /// The head of the upstream's response came.
    pub(super) fn head_came(&mut self, at: Instant) {
        if let Some(entry) = &mut self.entry {
            entry.head = Some(at.duration_since(self.began));
        }
    }

    /// It is answered by the proxy for this reason.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.cut(failure.cause());
    }

    /// Something went wrong; what went wrong first counts.
    pub(super) fn cut(&mut self, cause: &'static str) {
        if let Some(entry) = &mut self.entry {
            entry.cause.get_or_insert(cause);
        }
    }

    /// A clock ran out while its response was being sent.
    pub(super) fn expired(&mut self, expired: Expired) {
        self.cut(expired.cause());
    }

    /// The response the client gets.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        self.status(response.status());
        self.fields(response.headers());
    }

    /// The status the client gets.
    pub(super) fn status(&mut self, status: StatusCode) {
        if let Some(entry) = &mut self.entry {
            entry.status = Some(status);
        }
    }

    /// The fields of the response, or its trailers.
    pub(super) fn fields(&mut self, fields: &HeaderMap) {
        if let Some(entry) = &mut self.entry
            && let Some(status) = fields.get(GRPC_STATUS)
        {
            entry.grpc_status = Some(status.clone());
        }
    }

    /// Where its policies write what is to be added, until its end.
    pub(super) fn annotated(&mut self, notebook: &Notebook) {
        if let Some(entry) = &mut self.entry {
            entry.notebook = Some(notebook.clone());
        }
    }

    /// Whether there will be a line.
    pub(super) const fn is_logged(&self) -> bool {
        self.entry.is_some()
    }

    /// So many bytes of the response were handed to the client's connection.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(entry) = &mut self.entry {
            entry.sent += bytes as u64;
        }
    }

    /// So many bytes went through a tunnel.
    pub(super) fn moved(&mut self, to_upstream: u64, to_client: u64) {
        if let Some(entry) = &mut self.entry {
            entry.received += to_upstream;
            entry.sent += to_client;
        }
    }

    /// It became a tunnel: how long that lasts is no latency.
    pub(super) fn became_tunnel(&mut self) {
        self.observe(Instant::now());
    }

    /// It has ended, wholly or not.
    pub(super) fn end(&mut self, at: Instant, whole: bool) {
        self.observe(at);
        if let Some(entry) = self.entry.take() {
            entry.end(at.duration_since(self.began), whole);
        }
    }

    fn observe(&mut self, at: Instant) {
        if let Some(route) = self.route.take() {
            route.observe(at.duration_since(self.began));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.route.is_some() || self.entry.is_some() {
            self.end(Instant::now(), false);
        }
    }
}

impl Entry {
    fn begin(connection: &Connection, view: &Rc<View>, head: &Parts, id: &HeaderValue) -> Self {
        let (local, uri) = (&connection.local, &head.uri);
        let mut line = local.logs.line();
        line.fields(connection.logged.get_or_init(|| {
            let listener = view.listener.name.as_str();
            local.logs.fields(|line| {
                put_connection(line, listener, connection.peer, connection.tls.as_deref());
            })
        }));
        line.word(field!("protocol"), protocol(head.version));
        line.word(field!("method"), head.method.as_str());
        let host = head.headers.get(header::HOST);
        let authority = match uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => host.map(HeaderValue::as_bytes),
        };
        if let Some(authority) = authority {
            line.text(field!("authority"), authority);
        }
        if !uri.path().is_empty() {
            line.text(field!("path"), uri.path().as_bytes());
        }
        if let Some(query) = uri.query() {
            line.text(field!("query"), query.as_bytes());
        }
        line.text(field!("request_id"), id.as_bytes());
        if let Some(agent) = head.headers.get(header::USER_AGENT) {
            line.text(field!("user_agent"), agent.as_bytes());
        }
        Self {
            line,
            local: local.clone(),
            view: view.clone(),
            activity: None,
            status: None,
            grpc_status: None,
            route: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            notebook: None,
            cause: None,
            head: None,
            received: 0,
            sent: 0,
        }
    }

    fn end(mut self, took: Duration, whole: bool) {
        if let Some(log) = &self.view.listener.access_log {
            let line = mem::take(&mut self.line);
            let rest = |line: &mut Line| self.put_rest(line, took, whole);
            self.local.logs.put(log, line, rest);
        }
    }

    /// What is known of it once it has ended.
    fn put_rest(&self, line: &mut Line, took: Duration, whole: bool) {
        if let Some(route) = &self.route {
            line.word(field!("route"), route.as_str());
        }
        if let Some(cluster) = &self.cluster {
            line.word(field!("cluster"), cluster.as_str());
        }
        if let Some(endpoint) = self.endpoint {
            line.address(field!("upstream_address"), endpoint);
        }
        if self.attempts > 1 {
            line.number(field!("upstream_attempts"), self.attempts.into());
        }
        if let Some(status) = self.status {
            line.number(field!("status"), status.as_u16().into());
        }
        if let Some(status) = &self.grpc_status {
            line.text(field!("grpc_status"), status.as_bytes());
        }
        let annotations = self.notebook.as_ref().map(Notebook::annotations);
        let annotations = annotations.unwrap_or_default();
        if !annotations.is_empty() {
            let named = |one: &Annotation| format!("{}.{}", one.policy, one.key);
            let notes = annotations.iter();
            line.map(
                field!("policies"),
                notes.map(|one| (named(one), &*one.value)),
            );
        }
        if let Some(cause) = self.cause.or((!whole).then_some("aborted")) {
            line.word(field!("cause"), cause);
        }
        let received = self.activity.as_ref().map_or(0, Activity::received);
        line.number(field!("bytes_received"), received + self.received);
        line.number(field!("bytes_sent"), self.sent);
        if let Some(head) = self.head {
            line.duration(field!("upstream_duration_us"), head);
        }
        line.duration(field!("duration_us"), took);
    }
}

/// What all lines of a connection begin with.
pub fn put_connection(line: &mut Line, listener: &str, client: SocketAddr, tls: Option<&TlsFacts>) {
    line.word(field!("listener"), listener);
    line.address(field!("client_address"), client);
    let Some(tls) = tls else { return };
    line.word(field!("tls_version"), tls.version);
    if let Some(name) = &tls.server_name {
        line.text(field!("tls_server_name"), name.as_bytes());
    }
    if let Some(client) = &tls.client {
        line.text(
            field!("tls_client_subject"),
            client.facts.subject.as_bytes(),
        );
    }
}

/// Takes down a request of HTTP/1 whose head was refused.
pub fn refused(connection: &Connection, error: &HeadError) {
    let status = error.status();
    let cause = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Failure::HeadTooLarge.cause(),
        StatusCode::URI_TOO_LONG => Failure::UriTooLong.cause(),
        _ => Failure::BadRequest("").cause(),
    };
    put_refused(connection, status, cause);
}

/// Takes down a request of HTTP/1 whose head did not come in time.
pub fn late(connection: &Connection) {
    put_refused(connection, StatusCode::REQUEST_TIMEOUT, "head_timeout");
}

fn put_refused(connection: &Connection, status: StatusCode, cause: &'static str) {
    let local = &connection.local;
    let view = connection.entrance.view(local);
    let Some(log) = &view.listener.access_log else {
        return;
    };
    let mut line = local.logs.line();
    let listener = view.listener.name.as_str();
    put_connection(
        &mut line,
        listener,
        connection.peer,
        connection.tls.as_deref(),
    );
    local.logs.put(log, line, |line| {
        line.word(field!("protocol"), protocol(Version::HTTP_11));
        line.number(field!("status"), status.as_u16().into());
        line.word(field!("cause"), cause);
    });
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Why bytes are passed on no more, as lines have it.
#[must_use]
pub const fn cause_of(cut: &Cut) -> &'static str {
    match cut {
        Cut::Client(_) => "client_reset",
        Cut::Upstream(_) => "upstream_reset",
        Cut::Idle => "idle_timeout",
        Cut::Expired => "timeout",
    }
}
