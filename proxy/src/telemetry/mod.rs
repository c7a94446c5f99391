//! What a proxy counts.

mod counters;
mod floods;
mod tls;

pub use counters::{
    ClusterCounters, ClusterShard, Counter, Gauge, ListenerCounters, ListenerShard, Rendered,
    StatusClasses,
};
pub use floods::{Flood, FloodShard};
pub use tls::{TlsFailure, TlsShard};
