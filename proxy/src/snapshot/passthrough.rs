//! Who takes TLS connections, by the name the client asks for.

use std::{collections::HashMap, time::Duration};

use fleetway_api::{self as api, HostPattern, Relay, WeightedCluster};

use super::Targets;

/// TLS connections passed on by the name the client asks for.
#[derive(Debug)]
pub struct TlsPassthrough {
    /// How long the client's first message may take.
    pub hello_timeout: Duration,
    /// How connections are passed on.
    pub relay: Relay,
    servers: Box<[Targets]>,
    default: Option<Targets>,
    /// Places in `servers`, by name in lower case.
    exact: HashMap<Box<str>, usize>,
    /// The same by what names end with, the dot before it included.
    wildcard: HashMap<Box<str>, usize>,
}

impl TlsPassthrough {
    pub(super) fn new(
        resource: &api::TlsPassthrough,
        targets: impl Fn(&[WeightedCluster]) -> Targets,
    ) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (place, server) in resource.servers.iter().enumerate() {
            for name in &server.server_names {
                let _first = match name {
                    HostPattern::Exact(name) => exact.insert(name.clone(), place),
                    HostPattern::Wildcard(end) => wildcard.insert(end.clone(), place),
                    HostPattern::Any => None,
                };
            }
        }
        let servers = resource.servers.iter();
        let default = &resource.default_clusters;
        Self {
            hello_timeout: resource.hello_timeout,
            relay: resource.relay,
            servers: servers.map(|server| targets(&server.clusters)).collect(),
            default: (!default.is_empty()).then(|| targets(default)),
            exact,
            wildcard,
        }
    }

    /// Who takes connections for `name`: the exact one before the longest wildcard before the
    /// default. `None` if nobody does.
    #[must_use]
    pub fn targets(&self, name: Option<&str>) -> Option<&Targets> {
        let place = name.and_then(|name| self.place(name));
        let server = place.and_then(|place| self.servers.get(place));
        server.or(self.default.as_ref())
    }

    fn place(&self, name: &str) -> Option<usize> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(place) = self.exact.get(&*name) {
            return Some(*place);
        }
        let dots = name.match_indices('.').skip_while(|(at, _)| *at == 0);
        let mut ends = dots.filter_map(|(at, _)| name.get(at..));
        ends.find_map(|end| self.wildcard.get(end).copied())
    }
}

#[cfg(test)]
mod tests {
    use fleetway_api::{Protocol, Resource, document};

    use super::*;
    use crate::snapshot::Slot;

    fn passthrough(settings: &str) -> TlsPassthrough {
        let yaml =
            format!("{{kind: Listener, name: a, address: '[::]:1', tls_passthrough: {settings}}}");
        let read = document::read_all(&yaml, document::Format::Yaml, "test").unwrap();
        let Some((_, Resource::Listener(listener))) = read.into_iter().next() else {
            panic!("no listener");
        };
        let Protocol::TlsPassthrough(resource) = &listener.protocol else {
            panic!("no passthrough");
        };
        // A cluster's name is its slot.
        TlsPassthrough::new(resource, |clusters| {
            Targets::new(clusters, |name| name.as_str().parse().ok().map(Slot::new))
        })
    }

    fn taken(by: &TlsPassthrough, name: Option<&str>) -> Option<usize> {
        Some(by.targets(name)?.choose(|_| 0)?.index())
    }

    #[test]
    fn a_name_goes_to_the_exact_then_the_longest_wildcard_then_the_default() {
        let servers = "servers: [\
            {server_names: ['*.example.com', other.com], clusters: [{name: '1'}]}, \
            {server_names: [API.example.com], clusters: [{name: '2'}]}, \
            {server_names: ['*.eu.example.com'], clusters: [{name: '3'}]}]";
        let all = passthrough(&format!("{{{servers}, default_clusters: [{{name: '9'}}]}}"));
        let some = passthrough(&format!("{{{servers}}}"));
        for (name, want) in [
            ("www.example.com", Some(1)),
            ("a.b.example.com", Some(1)),
            ("other.com", Some(1)),
            ("api.example.com", Some(2)),
            ("api.EXAMPLE.com.", Some(2)),
            ("api.eu.example.com", Some(3)),
            ("eu.example.com", Some(1)),
            ("example.com", None),
            (".example.com", None),
            ("www.other.com", None),
            ("", None),
        ] {
            assert_eq!(taken(&some, Some(name)), want, "{name}");
            assert_eq!(taken(&all, Some(name)), want.or(Some(9)), "{name}");
        }
        assert_eq!(taken(&some, None), None);
        assert_eq!(taken(&all, None), Some(9));
    }
}
