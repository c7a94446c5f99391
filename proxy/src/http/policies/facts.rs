//! What policies are told of a request besides its head.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use fleetway_api::HttpListener;
use fleetway_policy_runtime::{Bounds, Certificate, Client, Facts, Protocol, Tls};
use http::{HeaderValue, Version, request::Parts};

use super::{Passage, outbound};
use crate::http::{Connection, local::View, normalize};

impl Passage {
    /// Of a request that has come.
    pub(in crate::http) fn of(
        connection: &Connection,
        view: &View,
        http: &HttpListener,
        id: &HeaderValue,
        head: &Parts,
    ) -> Self {
        let rules = http.path_normalization;
        let most = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self::new(Facts {
            id: String::from_utf8_lossy(id.as_bytes()).into_owned(),
            received: SystemTime::now(),
            protocol: match head.version {
                Version::HTTP_10 => Protocol::Http10,
                Version::HTTP_2 => Protocol::Http2,
                _ => Protocol::Http11,
            },
            client: connection
                .client
                .get_or_init(|| Arc::new(client(connection, view)))
                .clone(),
            paths: Arc::new(move |path| match normalize(path, &rules) {
                Ok(path) => Ok(path.into_owned()),
                Err(fault) => Err(fault.to_string()),
            }),
            bounds: Bounds {
                fields: most(http.limits.headers),
                bytes: most(http.limits.header_bytes),
            },
            hops: outbound::hops(id),
            outbound: Some(connection.local.outbound()),
        })
    }
}

fn client(connection: &Connection, view: &View) -> Client {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    let tls = connection.tls.as_ref().map(|tls| Tls {
        version: tls.version,
        server_name: tls.server_name.as_deref().map(str::to_owned),
        certificate: tls.client.as_ref().map(|client| Certificate {
            subject: client.facts.subject.to_string(),
            uris: client.facts.uris().map(str::to_owned).collect(),
            dns_names: client
                .facts
                .dns_names
                .iter()
                .map(ToString::to_string)
                .collect(),
            sha256: client.fingerprint.to_string(),
        }),
    });
    Client {
        address: connection.peer,
        listener: view.listener.name.as_str().into(),
        connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
        tls,
    }
}
