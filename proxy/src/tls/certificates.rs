//! Which certificate a client is shown.

use std::{collections::HashMap, sync::Arc};

use fleetway_api::Certificate;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificates of a listener, by the names they are for.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// By host name, lower case; in the order of the listener.
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows the first label: `*.example.com` is held as `example.com`.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// All, in order: for clients that ask for none of the names.
    all: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    pub(super) fn new<'c>(certificates: impl IntoIterator<Item = &'c Certificate>) -> Self {
        let mut these = Self::default();
        for certificate in certificates {
            let key = &certificate.certified;
            these.all.push(key.clone());
            let names = certificate.leaf().map_or(&[][..], |leaf| &leaf.dns_names);
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut these.wildcard, rest),
                    None => (&mut these.exact, &**name),
                };
                map.entry(name.into()).or_default().push(key.clone());
            }
        }
        these
    }

    /// Those for `name`, else all.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else { return &self.all };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        let named = self.exact.get(&*name).or_else(wildcard);
        named.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.of(hello.server_name());
        let schemes = hello.signature_schemes();
        let usable =
            |certificate: &&Arc<CertifiedKey>| certificate.key.choose_scheme(schemes).is_some();
        candidates.iter().find(usable).cloned()
    }
}
