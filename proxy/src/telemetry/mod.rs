//! What a proxy counts.

mod access_log;
mod counters;
mod floods;
mod latency;
mod rendered;
mod tls;

pub use access_log::AccessLogCounters;
pub use counters::{
    ClusterCounters, ClusterShard, Counter, Gauge, ListenerCounters, ListenerShard, StatusClasses,
};
pub use floods::{Flood, FloodShard};
pub use latency::{Histogram, Latency, RouteLatencies};
pub use rendered::{Rendered, escaped};
pub use tls::{TlsFailure, TlsShard};
