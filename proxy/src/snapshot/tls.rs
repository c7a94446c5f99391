//! TLS of listeners and clusters, made of the secrets they name.

use std::sync::Arc;

use fleetway_api::{
    self as api, CaBundle, Certificate, FieldError, Id, Kind, Name, Resource, SecretKind,
};

use super::{ListenerConfig, Received, Resources};
use crate::tls::{Originate, Terminate};

type Entry = Arc<api::Entry<Received>>;

/// TLS on a listener, with the secrets it was made of.
#[derive(Debug)]
pub struct ListenerTls {
    /// What a handshake needs.
    pub terminate: Terminate,
    settings: api::ListenerTls,
    /// Whether HTTP is spoken over it.
    http: bool,
    secrets: Vec<Entry>,
}

/// TLS on a listener: what it had, if nothing it is made of has changed.
pub(super) fn terminate(
    resources: &Resources,
    resource: &api::Listener,
    before: Option<&Arc<ListenerConfig>>,
) -> Result<Option<Arc<ListenerTls>>, Vec<FieldError>> {
    let Some(settings) = &resource.tls else {
        return Ok(None);
    };
    let clients = settings.client_certificates.as_ref();
    let names = settings.certificates.iter();
    let names = names.chain(clients.map(|clients| &clients.ca));
    let secrets: Vec<Entry> = names
        .filter_map(|name| secret(resources, name))
        .cloned()
        .collect();
    let before = before.and_then(|before| before.tls.as_ref());
    let http = resource.takes_routes();
    if let Some(before) = before
        && before.settings == *settings
        && before.http == http
        && before.secrets.len() == secrets.len()
        && before
            .secrets
            .iter()
            .zip(&secrets)
            .all(|(one, two)| Arc::ptr_eq(one, two))
    {
        return Ok(Some(before.clone()));
    }
    let certificates = secrets.iter().filter_map(certificate);
    let client_ca = secrets.iter().find_map(authorities);
    let before = before.map(|tls| &tls.terminate);
    let terminate = Terminate::new(settings, http, certificates, client_ca, before);
    let terminate = terminate.map_err(|error| {
        let listener = Id::new(Kind::Listener, resource.common.name.clone());
        vec![FieldError::new(
            listener,
            "tls",
            format!("cannot be set up: {error}"),
        )]
    })?;
    Ok(Some(Arc::new(ListenerTls {
        terminate,
        settings: settings.clone(),
        http,
        secrets,
    })))
}

/// TLS with a cluster's members: what it had, if nothing it is made of has changed.
pub(super) fn originate(
    resources: &Resources,
    resource: &api::Cluster,
    before: Option<&Arc<Originate>>,
) -> Result<Option<Arc<Originate>>, Vec<FieldError>> {
    let Some(settings) = &resource.tls else {
        return Ok(None);
    };
    let named = |name: &Option<Name>| name.as_ref().and_then(|name| secret(resources, name));
    let ca = named(&settings.ca).and_then(authorities);
    let certificate = named(&settings.certificate).and_then(certificate);
    match Originate::new(settings, ca, certificate, resource.protocol, before) {
        Ok(tls) => Ok(Some(tls)),
        Err(error) => {
            let cluster = Id::new(Kind::Cluster, resource.common.name.clone());
            Err(vec![FieldError::new(cluster, error.0, error.to_string())])
        }
    }
}

fn secret<'r>(resources: &'r Resources, name: &Name) -> Option<&'r Entry> {
    resources.get(&Id::new(Kind::Secret, name.clone()))
}

fn certificate(entry: &Entry) -> Option<&Certificate> {
    match &entry.resource {
        Resource::Secret(secret) => match &secret.kind {
            SecretKind::Certificate(certificate) => Some(certificate),
            SecretKind::Ca(_) => None,
        },
        _ => None,
    }
}

fn authorities(entry: &Entry) -> Option<&CaBundle> {
    match &entry.resource {
        Resource::Secret(secret) => match &secret.kind {
            SecretKind::Ca(bundle) => Some(bundle),
            SecretKind::Certificate(_) => None,
        },
        _ => None,
    }
}
