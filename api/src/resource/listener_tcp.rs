//! The validated listener that passes bytes on.

use std::time::Duration;

use fleetway_proto::{Duration as ProtoDuration, v1};

use super::{
    WeightedCluster, listener::read_drain_timeout, read_limit, read_limit_or_none,
    weighted::read_clusters,
};
use crate::error::Checker;

/// Connections passed on to a cluster byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpListener {
    /// The clusters that share the connections; at least one has a weight above 0.
    pub clusters: Box<[WeightedCluster]>,
    /// How they are passed on.
    pub relay: Relay,
}

/// How connections are passed on byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// The longest time without a byte in either direction; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// The longest time a connection may last; `None` for no limit.
    pub max_duration: Option<Duration>,
    /// How long connections may go on once the listener goes away.
    pub drain_timeout: Duration,
    /// How many endpoints are tried, 1 to 10.
    pub max_connect_attempts: u32,
}

/// The same as messages have it.
pub(super) struct RelayFields {
    pub(super) idle_timeout: Option<ProtoDuration>,
    pub(super) max_duration: Option<ProtoDuration>,
    pub(super) drain_timeout: Option<ProtoDuration>,
    pub(super) max_connect_attempts: Option<u32>,
}

const HOUR: Duration = Duration::from_secs(3600);
const MAX_ATTEMPTS: u32 = 10;

impl TcpListener {
    pub(super) fn read(check: &mut Checker, message: v1::TcpListener) -> Self {
        let relay = RelayFields {
            idle_timeout: message.idle_timeout,
            max_duration: message.max_duration,
            drain_timeout: message.drain_timeout,
            max_connect_attempts: message.max_connect_attempts,
        };
        Self {
            clusters: read_clusters(check, "tcp.clusters", message.clusters, "connections"),
            relay: Relay::read(check, "tcp", &relay),
        }
    }
}

impl Relay {
    pub(super) fn read(check: &mut Checker, under: &str, message: &RelayFields) -> Self {
        let field = |name: &str| format!("{under}.{name}");
        let attempts = message.max_connect_attempts.unwrap_or(3);
        if !(1..=MAX_ATTEMPTS).contains(&attempts) {
            check.fault(
                field("max_connect_attempts"),
                format!("must be between 1 and {MAX_ATTEMPTS}"),
            );
        }
        Self {
            idle_timeout: read_limit(check, &field("idle_timeout"), message.idle_timeout, HOUR),
            max_duration: read_limit_or_none(check, &field("max_duration"), message.max_duration),
            drain_timeout: read_drain_timeout(
                check,
                &field("drain_timeout"),
                message.drain_timeout,
            ),
            max_connect_attempts: attempts,
        }
    }
}
