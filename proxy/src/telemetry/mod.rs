//! What a proxy counts.

mod counters;
mod tls;

pub use counters::{
    ClusterCounters, ClusterShard, Counter, Gauge, ListenerCounters, ListenerShard, Rendered,
    StatusClasses,
};
pub use tls::{TlsFailure, TlsShard};
