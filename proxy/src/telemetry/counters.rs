//! Counters with one writer each: every worker has its own shard, so counting a request writes to
//! no memory another worker writes to. Reading sums the shards.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use http::StatusCode;

use super::{
    AccessLogCounters, Histogram, Rendered,
    floods::{self, FloodShard},
    latency,
    tls::{self, TlsNames, TlsShard},
};

/// A number that only grows. Only one thread adds to it; any may read it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // One writer, so a plain load and store are enough, and cost less than a locked add.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. Only one thread changes it; any may read it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn increment(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// One less.
    pub fn decrement(&self) {
        self.0
            .store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Responses by the first digit of their status.
#[derive(Debug, Default)]
pub struct StatusClasses([Counter; 5]);

impl StatusClasses {
    /// Counts a response.
    pub fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.0.get(class) {
            counter.increment();
        }
    }

    /// The class (`1xx` …) and the number of each.
    pub fn get(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .zip(self.0.iter().map(Counter::get))
    }
}

/// What one worker counts of a listener. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ListenerShard {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections open.
    pub connections_active: Gauge,
    /// Connections closed at once, as there were too many.
    pub connections_refused: Counter,
    /// Responses sent, by class.
    pub responses: StatusClasses,
    /// Connections and streams that left HTTP for another protocol.
    pub tunnels: Counter,
    /// Those of them that are open.
    pub tunnels_active: Gauge,
    /// Requests refused for want of memory.
    pub requests_shed: Counter,
    /// Requests that matched no route.
    pub no_route: Counter,
    /// Connections or requests refused for bad framing or syntax.
    pub protocol_errors: Counter,
    /// HTTP/2 connections ended as floods.
    pub http2_floods: FloodShard,
    /// Connections refused for their PROXY header, or for having none.
    pub proxy_protocol_errors: Counter,
    /// Bytes of clients passed on, of connections that are relayed.
    pub received_bytes: Counter,
    /// Bytes passed on to clients, of connections that are relayed.
    pub sent_bytes: Counter,
    /// Relayed connections cut as they were idle or open for too long.
    pub timeouts: Counter,
    /// Connections closed as no endpoint could be connected to.
    pub no_endpoint: Counter,
    /// Relayed connections that one side broke off.
    pub broken: Counter,
    /// TLS handshakes with clients.
    pub tls: TlsShard,
    /// Lines of the access log left out as they could not be written as fast as they came.
    pub access_log_dropped: Counter,
}

/// What one worker counts of a cluster. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ClusterShard {
    /// Requests in flight.
    pub requests_active: Gauge,
    /// How long requests took, from when their heads were there to the ends of their responses.
    pub duration: Histogram,
    /// Responses received, by class.
    pub responses: StatusClasses,
    /// Connections opened.
    pub connections: Counter,
    /// Connections that could not be opened.
    pub connect_failures: Counter,
    /// Requests sent over a kept connection.
    pub reused: Counter,
    /// Requests sent again because a kept connection turned out closed.
    pub replays: Counter,
    /// Requests sent again as their policies want it.
    pub retries: Counter,
    /// Requests that ran into their time-out.
    pub timeouts: Counter,
    /// Requests that failed otherwise: reset, malformed answer.
    pub failures: Counter,
    /// Relayed connections that are open.
    pub relays_active: Gauge,
    /// Bytes received from endpoints and passed on, of connections that are relayed.
    pub received_bytes: Counter,
    /// Bytes passed on to endpoints, of connections that are relayed.
    pub sent_bytes: Counter,
    /// TLS handshakes with its members.
    pub tls: TlsShard,
}

/// The shards of a listener's counters.
#[derive(Debug)]
pub struct ListenerCounters {
    shards: Box<[ListenerShard]>,
    /// Of its access log, by the thread that writes it.
    pub access_log: AccessLogCounters,
}

/// The shards of a cluster's counters.
#[derive(Debug)]
pub struct ClusterCounters(Box<[Arc<ClusterShard>]>);

impl ListenerCounters {
    /// Writes those of TLS handshakes.
    pub fn render_tls(&self, name: &str, out: &mut Rendered) {
        let names = TlsNames {
            handshakes: "fleetway_listener_tls_handshakes_total",
            resumed: "fleetway_listener_tls_resumed_total",
            failures: "fleetway_listener_tls_failures_total",
        };
        let label = format!("listener=\"{name}\"");
        tls::render(&names, &label, self.shards.iter().map(|s| &s.tls), out);
    }

    /// Counters for `workers` workers, at least one.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let shards = (0..workers.max(1)).map(|_| ListenerShard::default());
        Self {
            shards: shards.collect(),
            access_log: AccessLogCounters::default(),
        }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shards.len()
    }

    /// Writes those of the access log.
    pub fn render_access_log(&self, name: &str, out: &mut Rendered) {
        let label = format!("listener=\"{name}\"");
        let dropped: u64 = self.shards.iter().map(|s| s.access_log_dropped.get()).sum();
        let (written, lost, failures) = self.access_log.get();
        let dropped = dropped + lost;
        out.counter("fleetway_access_log_lines_total", &label, written);
        out.counter("fleetway_access_log_dropped_total", &label, dropped);
        out.counter("fleetway_access_log_errors_total", &label, failures);
    }

    /// The shard of a worker.
    #[must_use]
    pub fn shard(&self, worker: usize) -> &ListenerShard {
        shard(&self.shards, worker)
    }

    /// Writes them in Prometheus' text form.
    pub fn render(&self, name: &str, out: &mut Rendered) {
        type Of = fn(&ListenerShard) -> u64;
        let label = format!("listener=\"{name}\"");
        let sum = |of: fn(&ListenerShard) -> u64| self.shards.iter().map(of).sum::<u64>();
        out.counter(
            "fleetway_listener_connections_total",
            &label,
            sum(|s| s.connections.get()),
        );
        out.gauge(
            "fleetway_listener_connections_active",
            &label,
            sum(|s| s.connections_active.get()),
        );
        out.counter(
            "fleetway_listener_connections_refused_total",
            &label,
            sum(|s| s.connections_refused.get()),
        );
        out.counter(
            "fleetway_listener_tunnels_total",
            &label,
            sum(|s| s.tunnels.get()),
        );
        out.gauge(
            "fleetway_listener_tunnels_active",
            &label,
            sum(|s| s.tunnels_active.get()),
        );
        out.counter(
            "fleetway_listener_requests_shed_total",
            &label,
            sum(|s| s.requests_shed.get()),
        );
        out.counter(
            "fleetway_listener_no_route_total",
            &label,
            sum(|s| s.no_route.get()),
        );
        out.counter(
            "fleetway_listener_protocol_errors_total",
            &label,
            sum(|s| s.protocol_errors.get()),
        );
        floods::render(&label, self.shards.iter().map(|s| &s.http2_floods), out);
        let others: [(_, Of); 6] = [
            ("fleetway_listener_proxy_protocol_errors_total", |s| {
                s.proxy_protocol_errors.get()
            }),
            ("fleetway_listener_received_bytes_total", |s| {
                s.received_bytes.get()
            }),
            ("fleetway_listener_sent_bytes_total", |s| s.sent_bytes.get()),
            ("fleetway_listener_timeouts_total", |s| s.timeouts.get()),
            ("fleetway_listener_no_endpoint_total", |s| {
                s.no_endpoint.get()
            }),
            ("fleetway_listener_broken_total", |s| s.broken.get()),
        ];
        for (name, of) in others {
            out.counter(name, &label, sum(of));
        }
        out.classes(
            "fleetway_listener_responses_total",
            &label,
            self.shards.iter().map(|s| &s.responses),
        );
    }
}

impl ClusterCounters {
    /// Counters for `workers` workers, at least one.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Arc::default()).collect())
    }

    /// The shard of a worker.
    #[must_use]
    pub fn shard(&self, worker: usize) -> &Arc<ClusterShard> {
        shard(&self.0, worker)
    }

    /// Writes those of TLS handshakes.
    pub fn render_tls(&self, name: &str, out: &mut Rendered) {
        let names = TlsNames {
            handshakes: "fleetway_cluster_tls_handshakes_total",
            resumed: "fleetway_cluster_tls_resumed_total",
            failures: "fleetway_cluster_tls_failures_total",
        };
        let label = format!("cluster=\"{name}\"");
        tls::render(&names, &label, self.0.iter().map(|s| &s.tls), out);
    }

    /// Writes them in Prometheus' text form.
    pub fn render(&self, name: &str, out: &mut Rendered) {
        let label = format!("cluster=\"{name}\"");
        let sum = |of: fn(&ClusterShard) -> u64| self.0.iter().map(|s| of(s)).sum::<u64>();
        out.gauge(
            "fleetway_cluster_requests_active",
            &label,
            sum(|s| s.requests_active.get()),
        );
        out.counter(
            "fleetway_cluster_connections_total",
            &label,
            sum(|s| s.connections.get()),
        );
        out.counter(
            "fleetway_cluster_connect_failures_total",
            &label,
            sum(|s| s.connect_failures.get()),
        );
        out.counter(
            "fleetway_cluster_reused_total",
            &label,
            sum(|s| s.reused.get()),
        );
        out.counter(
            "fleetway_cluster_replays_total",
            &label,
            sum(|s| s.replays.get()),
        );
        out.counter(
            "fleetway_cluster_retries_total",
            &label,
            sum(|s| s.retries.get()),
        );
        out.counter(
            "fleetway_cluster_timeouts_total",
            &label,
            sum(|s| s.timeouts.get()),
        );
        out.counter(
            "fleetway_cluster_failures_total",
            &label,
            sum(|s| s.failures.get()),
        );
        out.gauge(
            "fleetway_cluster_relays_active",
            &label,
            sum(|s| s.relays_active.get()),
        );
        out.counter(
            "fleetway_cluster_received_bytes_total",
            &label,
            sum(|s| s.received_bytes.get()),
        );
        out.counter(
            "fleetway_cluster_sent_bytes_total",
            &label,
            sum(|s| s.sent_bytes.get()),
        );
        latency::render(
            "fleetway_cluster_request_duration_seconds",
            &label,
            self.0.iter().map(|s| &s.duration),
            out,
        );
        out.classes(
            "fleetway_cluster_responses_total",
            &label,
            self.0.iter().map(|s| &s.responses),
        );
    }
}

/// Worker numbers come from where the shards were counted; the first shard stands in for none.
#[expect(
    clippy::indexing_slicing,
    reason = "never empty: made with at least one shard"
)]
fn shard<T>(shards: &[T], worker: usize) -> &T {
    shards.get(worker).unwrap_or_else(|| &shards[0])
}
