//! The validated cluster and endpoints.

use std::{net::SocketAddr, time::Duration};

use fleetway_proto::v1;

use super::{
    Common, DAY, MILLISECOND, ProxyProtocolVersion, UpstreamTls, label, listener::read_address,
    read_common, read_duration,
};
use crate::{FieldError, Kind, error::Checker};

/// A named upstream.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name, fleets, labels.
    pub common: Common,
    /// Its members; empty when they come from the [`Endpoints`] of the same name.
    pub endpoints: Box<[Endpoint]>,
    /// TLS towards its members, if so.
    pub tls: Option<UpstreamTls>,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many idle connections are kept for each endpoint and worker.
    pub max_idle: usize,
    /// What connections begin with, to say which client they are for.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// What its endpoints speak.
    pub protocol: UpstreamProtocol,
}

/// The version of HTTP that the endpoints of a cluster speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Whichever of them each endpoint chooses within TLS (ALPN, RFC 7301).
    Auto,
}

/// The members of the cluster of the same name.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Name (the cluster's), fleets, labels.
    pub common: Common,
    /// The members.
    pub endpoints: Box<[Endpoint]>,
}

/// One member of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share, 0 to 1000.
    pub weight: u32,
}

/// The largest weight of an endpoint.
const MAX_WEIGHT: u32 = 1000;

impl Cluster {
    pub(super) fn read(message: v1::Cluster) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Cluster, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let endpoints = read_endpoints(&mut check, &message.endpoints);
        let tls = message.tls.map(|tls| UpstreamTls::read(&mut check, tls));
        let connect_timeout = read_duration(
            &mut check,
            "connect_timeout",
            message.connect_timeout,
            Duration::from_secs(5),
            (MILLISECOND, Duration::from_secs(300)),
        );
        let pool = message.pool.unwrap_or_default();
        let idle_timeout = read_duration(
            &mut check,
            "pool.idle_timeout",
            pool.idle_timeout,
            Duration::from_secs(60),
            (MILLISECOND, DAY),
        );
        let max_idle = pool.max_idle.unwrap_or(1024);
        if max_idle > 100_000 {
            check.fault("pool.max_idle", "must be at most 100000");
        }
        let proxy_protocol = ProxyProtocolVersion::read(&mut check, message.proxy_protocol);
        let protocol = UpstreamProtocol::read(&mut check, message.protocol);
        if protocol != UpstreamProtocol::Http1 && proxy_protocol.is_some() {
            let written = match protocol {
                UpstreamProtocol::Auto => "AUTO can choose HTTP/2, which",
                _ => "HTTP2",
            };
            check.fault(
                "protocol",
                format!("{written} has requests of many clients on one connection, and proxy_protocol tells of one: use HTTP1"),
            );
        }
        if protocol == UpstreamProtocol::Auto && tls.is_none() {
            check.fault(
                "protocol",
                "AUTO is settled in the TLS handshake, and there is no `tls`: add it, or write HTTP1 or HTTP2",
            );
        }
        match common {
            Some(common) if check.is_clean() => Ok(Self {
                common,
                endpoints,
                tls,
                proxy_protocol,
                protocol,
                connect_timeout,
                idle_timeout,
                max_idle: usize::try_from(max_idle).unwrap_or(usize::MAX),
            }),
            _ => Err(check.finish()),
        }
    }
}

impl UpstreamProtocol {
    fn read(check: &mut Checker, value: i32) -> Self {
        use v1::UpstreamProtocol as Message;
        match Message::try_from(value) {
            Ok(Message::Unspecified | Message::Http1) => Self::Http1,
            Ok(Message::Http2) => Self::Http2,
            Ok(Message::Auto) => Self::Auto,
            Err(_) => {
                check.fault("protocol", "must be HTTP1, HTTP2 or AUTO");
                Self::Http1
            }
        }
    }
}

impl Endpoints {
    pub(super) fn read(message: v1::Endpoints) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Endpoints, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let endpoints = read_endpoints(&mut check, &message.endpoints);
        match common {
            Some(common) if check.is_clean() => Ok(Self { common, endpoints }),
            _ => Err(check.finish()),
        }
    }
}

fn read_endpoints(check: &mut Checker, messages: &[v1::Endpoint]) -> Box<[Endpoint]> {
    let mut endpoints = Vec::with_capacity(messages.len());
    let mut seen = std::collections::HashSet::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let field = format!("endpoints[{index}].address");
        let address = read_address(check, &field, &message.address);
        let weight = message.weight.unwrap_or(1);
        if weight > MAX_WEIGHT {
            check.fault(
                format!("endpoints[{index}].weight"),
                format!("must be between 0 and {MAX_WEIGHT}"),
            );
        }
        let Some(address) = address else { continue };
        if address.port() == 0 {
            check.fault(
                field,
                "port 0 cannot be connected to: write the port it listens on",
            );
        } else if seen.insert(address) {
            endpoints.push(Endpoint { address, weight });
        } else {
            check.fault(
                field,
                format!("{address} is listed twice: raise its weight instead"),
            );
        }
    }
    endpoints.into()
}

#[cfg(test)]
mod tests {
    use crate::document::{self, Format};

    #[test]
    fn a_header_for_one_client_goes_with_no_protocol_that_many_share_and_it_is_named_as_written() {
        for (protocol, says) in [
            ("HTTP2", "protocol: HTTP2 has requests of many clients"),
            (
                "AUTO",
                "protocol: AUTO can choose HTTP/2, which has requests of many clients",
            ),
        ] {
            let yaml = format!(
                "{{kind: Cluster, name: c, endpoints: [{{address: \"127.0.0.1:1\"}}], proxy_protocol: V2, protocol: {protocol}}}"
            );
            let faulty = document::read_all(&yaml, Format::Yaml, "c.yaml").unwrap_err();
            let told = faulty.faults.iter().map(ToString::to_string);
            let told = told.collect::<Vec<_>>().join("\n");
            assert!(told.contains(says), "{told}");
            assert_eq!(told.contains("HTTP2 has"), protocol == "HTTP2", "{told}");
        }
    }
}
