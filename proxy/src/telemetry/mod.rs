//! What a proxy counts.

mod counters;

pub use counters::{
    ClusterCounters, ClusterShard, Counter, Gauge, ListenerCounters, ListenerShard, Rendered,
    StatusClasses,
};
