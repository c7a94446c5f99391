//! The validated listener that passes TLS on by the name a client asks for.

use std::{collections::BTreeSet, time::Duration};

use fleetway_proto::v1;

use super::{
    HostPattern, MILLISECOND, Relay, WeightedCluster, listener_tcp::RelayFields, read_duration,
    weighted::read_clusters,
};
use crate::error::Checker;

/// TLS connections passed on to a cluster by the name the client asks for (SNI).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPassthrough {
    /// Who takes which names; no name stands twice.
    pub servers: Box<[TlsServer]>,
    /// Who takes all others; empty means nobody.
    pub default_clusters: Box<[WeightedCluster]>,
    /// How long the client's first message may take.
    pub hello_timeout: Duration,
    /// How connections are passed on.
    pub relay: Relay,
}

/// Who takes which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServer {
    /// The names, never [`HostPattern::Any`].
    pub server_names: Box<[HostPattern]>,
    /// The clusters that share the connections; at least one has a weight above 0.
    pub clusters: Box<[WeightedCluster]>,
}

impl TlsPassthrough {
    pub(super) fn read(check: &mut Checker, message: v1::TlsPassthrough) -> Self {
        const UNDER: &str = "tls_passthrough";
        let relay = RelayFields {
            idle_timeout: message.idle_timeout,
            max_duration: message.max_duration,
            drain_timeout: message.drain_timeout,
            max_connect_attempts: message.max_connect_attempts,
        };
        let mut seen = BTreeSet::new();
        let servers = message.servers.into_iter().enumerate();
        let servers: Box<[TlsServer]> = servers
            .map(|(index, server)| {
                let under = format!("{UNDER}.servers[{index}]");
                TlsServer {
                    server_names: read_names(check, &under, &server.server_names, &mut seen),
                    clusters: read_clusters(
                        check,
                        &format!("{under}.clusters"),
                        server.clusters,
                        "connections",
                    ),
                }
            })
            .collect();
        let default_clusters = match message.default_clusters {
            none if none.is_empty() => Box::default(),
            some => {
                let field = format!("{UNDER}.default_clusters");
                read_clusters(check, &field, some, "connections")
            }
        };
        if servers.is_empty() && default_clusters.is_empty() {
            check.fault(
                UNDER,
                "takes no connection: give it `servers` or `default_clusters`",
            );
        }
        Self {
            servers,
            default_clusters,
            hello_timeout: read_duration(
                check,
                "tls_passthrough.hello_timeout",
                message.hello_timeout,
                Duration::from_secs(10),
                (MILLISECOND, Duration::from_secs(300)),
            ),
            relay: Relay::read(check, UNDER, &relay),
        }
    }

    /// Each list of clusters, with the path of the field it stands in.
    pub(super) fn cluster_lists(&self) -> impl Iterator<Item = (String, &[WeightedCluster])> {
        let of_servers = self.servers.iter().enumerate().map(|(index, server)| {
            (
                format!("tls_passthrough.servers[{index}].clusters"),
                &*server.clusters,
            )
        });
        let default = "tls_passthrough.default_clusters".to_owned();
        of_servers.chain([(default, &*self.default_clusters)])
    }
}

fn read_names(
    check: &mut Checker,
    under: &str,
    names: &[String],
    seen: &mut BTreeSet<HostPattern>,
) -> Box<[HostPattern]> {
    let mut patterns = Vec::with_capacity(names.len());
    if names.is_empty() {
        check.fault(
            format!("{under}.server_names"),
            "is empty: name who is asked for, or use `default_clusters`",
        );
    }
    for (index, name) in names.iter().enumerate() {
        let field = || format!("{under}.server_names[{index}]");
        match check.take(field, HostPattern::parse(name)) {
            None => {}
            Some(HostPattern::Any) => {
                check.fault(field(), "takes every name: use `default_clusters` for that");
            }
            Some(pattern) if seen.insert(pattern.clone()) => patterns.push(pattern),
            Some(pattern) => check.fault(
                field(),
                format!("{pattern} is taken already: leave it in one place"),
            ),
        }
    }
    patterns.into()
}
