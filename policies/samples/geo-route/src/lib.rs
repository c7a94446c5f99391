//! Tags requests by the network they come from, for routes to match on (`match.tags`).
//!
//! ```json
//! { "tag": "region", "default": "rest",
//!   "networks": [ { "cidr": "10.0.0.0/8", "value": "inside" }, { "cidr": "2001:db8::/32", "value": "eu" } ] }
//! ```
//! The longest network counts. `default`, where no network fits, can be left out: then the request
//! goes on without a tag. Stage: `PRE_ROUTE`.

use std::net::IpAddr;

use fleetway_policy::prelude::*;
use serde::Deserialize;

/// Which networks are where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    tag: String,
    default: Option<String>,
    networks: Vec<Entry>,
}

/// One of them, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    cidr: String,
    value: String,
}

/// A network: its bits, as those of an IPv6 address, and how many of them count.
#[derive(Debug)]
struct Network {
    bits: u128,
    length: u32,
    value: String,
}

impl Network {
    fn parse(entry: Entry) -> Result<Self, &'static str> {
        let (address, length) = entry
            .cidr
            .split_once('/')
            .ok_or("write it as `ADDRESS/LENGTH`")?;
        let address: IpAddr = address.parse().map_err(|_| "the address is none")?;
        let length: u32 = length.parse().map_err(|_| "the length is no number")?;
        let (most, skipped) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        if length > most {
            return Err("the length is more than the address has bits");
        }
        let (bits, length) = (bits(address), length + skipped);
        if bits & !mask(length) != 0 {
            return Err("the address has bits behind the length: clear them");
        }
        Ok(Self {
            bits,
            length,
            value: entry.value,
        })
    }

    fn has(&self, address: u128) -> bool {
        address & mask(self.length) == self.bits
    }
}

fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

/// An address as one of IPv6: RFC 4291 section 2.5.5.2 for one of IPv4.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The policy.
pub struct GeoRoute {
    tag: String,
    default: Option<String>,
    networks: Vec<Network>,
}

impl Policy for GeoRoute {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        let (mut networks, mut faults) = (Vec::new(), Vec::new());
        for (i, entry) in config.networks.into_iter().enumerate() {
            match Network::parse(entry) {
                Ok(network) => networks.push(network),
                Err(why) => faults.push(fault(format!("/networks/{i}/cidr"), why)),
            }
        }
        if config.tag.is_empty() {
            faults.push(fault("/tag", "name the tag"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            tag: config.tag,
            default: config.default,
            networks,
        })
    }
}

impl PreRoute for GeoRoute {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        let address = bits(request.client().address.parse()?);
        let networks = self.networks.iter().filter(|network| network.has(address));
        let value = networks
            .max_by_key(|network| network.length)
            .map(|network| &network.value);
        Ok(match value.or(self.default.as_ref()) {
            Some(value) => RoutingHint::default().tag(&self.tag, value).into(),
            None => Decision::Continue,
        })
    }
}

fleetway_policy::export!(GeoRoute: pre_route);

#[cfg(test)]
mod tests {
    use fleetway_policy::prelude::*;
    use fleetway_policy::testing;

    use super::GeoRoute;

    fn tag(config: &str, address: &str) -> Option<String> {
        let mut policy: GeoRoute = testing::policy(config).unwrap();
        let request = testing::request("GET", "/").address(address);
        match policy.pre_route(&request.view()).unwrap() {
            Decision::Reroute(hint) => hint.tags.into_iter().next().map(|(_, value)| value),
            Decision::Continue => None,
            Decision::Respond(_) => unreachable!(),
        }
    }

    #[test]
    fn the_longest_network_counts() {
        let config = r#"{"tag":"region","networks":[
            {"cidr":"10.0.0.0/8","value":"a"}, {"cidr":"10.1.0.0/16","value":"b"},
            {"cidr":"2001:db8::/32","value":"c"}]}"#;
        assert_eq!(tag(config, "10.2.3.4").as_deref(), Some("a"));
        assert_eq!(tag(config, "10.1.3.4").as_deref(), Some("b"));
        assert_eq!(tag(config, "::ffff:10.1.3.4").as_deref(), Some("b"));
        assert_eq!(tag(config, "2001:db8:1::1").as_deref(), Some("c"));
        assert_eq!(tag(config, "192.0.2.1"), None);
    }

    #[test]
    fn everything_else_has_the_default() {
        let config =
            r#"{"tag":"region","default":"d","networks":[{"cidr":"0.0.0.0/0","value":"v4"}]}"#;
        assert_eq!(tag(config, "192.0.2.1").as_deref(), Some("v4"));
        assert_eq!(tag(config, "2001:db8::1").as_deref(), Some("d"));
    }

    #[test]
    fn a_wrong_network_is_pointed_at() {
        for cidr in ["10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "x/8", "::1/129"] {
            let config = format!(r#"{{"tag":"t","networks":[{{"cidr":"{cidr}","value":"v"}}]}}"#);
            let faults = testing::policy::<GeoRoute>(&config).err().unwrap();
            assert_eq!(faults[0].path, "/networks/0/cidr", "{cidr}");
        }
    }
}
