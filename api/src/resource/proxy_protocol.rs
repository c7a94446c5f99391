//! The validated settings of the PROXY protocol, on listeners and towards clusters.

use std::{net::IpAddr, time::Duration};

use fleetway_proto::v1;
use ipnet::IpNet;

use super::{MILLISECOND, read_duration};
use crate::error::Checker;

/// Connections that begin with a header of the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whether a connection without one is refused.
    pub required: bool,
    /// Who is believed; empty means everyone.
    pub trusted: Box<[IpNet]>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// A version of the protocol, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The most networks that can be listed.
const MAX_TRUSTED: usize = 1000;

impl ProxyProtocol {
    pub(super) fn read(check: &mut Checker, message: &v1::ListenerProxyProtocol) -> Self {
        use v1::listener_proxy_protocol::ProxyProtocolMode as Mode;
        let mode = Mode::try_from(message.mode).unwrap_or_else(|_| {
            check.fault(
                "proxy_protocol.mode",
                "is neither REQUIRED nor OPTIONAL: write one of them",
            );
            Mode::Required
        });
        if message.trusted.len() > MAX_TRUSTED {
            check.fault(
                "proxy_protocol.trusted",
                format!("must be at most {MAX_TRUSTED}"),
            );
        }
        let networks = message.trusted.iter().take(MAX_TRUSTED).enumerate();
        let trusted = networks.filter_map(|(index, text)| {
            let field = || format!("proxy_protocol.trusted[{index}]");
            check.take(field, read_network(text))
        });
        Self {
            required: mode != Mode::Optional,
            trusted: trusted.collect(),
            timeout: read_duration(
                check,
                "proxy_protocol.timeout",
                message.timeout,
                Duration::from_secs(5),
                (MILLISECOND, Duration::from_secs(300)),
            ),
        }
    }

    /// Whether a connection from `address` may say for whom it is.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.is_empty()
            || self
                .trusted
                .iter()
                .any(|network| network.contains(&address))
    }
}

/// Reads `10.0.0.0/8`, `2001:db8::/32`, or one address.
fn read_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no network: write one such as 10.0.0.0/8"))?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(format!(
            "\"{text}\" has an address within its network: write {}",
            network.trunc()
        ))
    }
}

impl ProxyProtocolVersion {
    pub(super) fn read(check: &mut Checker, value: i32) -> Option<Self> {
        use v1::cluster::ProxyProtocolVersion as Version;
        match Version::try_from(value) {
            Ok(Version::Unspecified) => None,
            Ok(Version::V1) => Some(Self::V1),
            Ok(Version::V2) => Some(Self::V2),
            Err(_) => {
                check.fault("proxy_protocol", "is neither V1 nor V2: write one of them");
                None
            }
        }
    }
}
