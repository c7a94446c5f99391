//! What resources refer to, and what they need it to be.

use super::{Action, Resource, SecretKind};
use crate::{Kind, Name};

/// What a reference needs its target to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A secret with a certificate and its key.
    Certificate,
    /// A secret with certificate authorities.
    Authorities,
    /// A component.
    Component,
    /// A policy.
    Policy,
    /// A cluster.
    Cluster,
    /// A cluster whose members stand elsewhere.
    Memberless,
    /// A listener that requests come in on.
    HttpListener,
}

impl Role {
    const ALL: [Self; 7] = [
        Self::Certificate,
        Self::Authorities,
        Self::Component,
        Self::Policy,
        Self::Cluster,
        Self::Memberless,
        Self::HttpListener,
    ];

    /// The kind that can play it.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Certificate | Self::Authorities => Kind::Secret,
            Self::Component => Kind::Component,
            Self::Policy => Kind::Policy,
            Self::Cluster | Self::Memberless => Kind::Cluster,
            Self::HttpListener => Kind::Listener,
        }
    }

    /// Why a resource of the kind cannot play it, if so: what it is instead, and the remedy.
    pub(crate) fn misfit(self, target: &Resource) -> Option<&'static str> {
        match (self, target) {
            (Self::Certificate, Resource::Secret(secret)) => {
                let fits = matches!(secret.kind, SecretKind::Certificate(_));
                (!fits).then_some("has no `certificate`: name a secret that has one")
            }
            (Self::Authorities, Resource::Secret(secret)) => {
                let fits = matches!(secret.kind, SecretKind::Ca(_));
                (!fits).then_some("has no `ca`: name a secret that has one")
            }
            (Self::Memberless, Resource::Cluster(cluster)) => (!cluster.endpoints.is_empty())
                .then_some("lists endpoints itself: empty that list or delete this resource"),
            (Self::HttpListener, Resource::Listener(listener)) => (!listener.takes_routes())
                .then_some("does not speak HTTP: routes serve listeners with `http` only"),
            _ => None,
        }
    }
}

impl Resource {
    /// Every resource it refers to, with what that has to be and the path of the field that does.
    pub fn references<'r>(&'r self, mut found: impl FnMut(Role, &'r Name, &dyn Fn() -> String)) {
        match self {
            Self::Secret(_) | Self::Component(_) => {}
            Self::Policy(policy) => {
                found(Role::Component, &policy.component, &|| {
                    "component".to_owned()
                });
                for (index, name) in policy.http.clusters.iter().enumerate() {
                    found(Role::Cluster, name, &|| format!("http.clusters[{index}]"));
                }
            }
            Self::Cluster(cluster) => {
                let Some(tls) = &cluster.tls else { return };
                if let Some(name) = &tls.ca {
                    found(Role::Authorities, name, &|| "tls.ca".to_owned());
                }
                if let Some(name) = &tls.certificate {
                    found(Role::Certificate, name, &|| "tls.certificate".to_owned());
                }
            }
            Self::Endpoints(endpoints) => {
                found(Role::Memberless, &endpoints.common.name, &|| {
                    "name".to_owned()
                });
            }
            Self::Listener(listener) => {
                let tls = listener.tls.iter();
                for (index, name) in tls.flat_map(|tls| &tls.certificates).enumerate() {
                    found(Role::Certificate, name, &|| {
                        format!("tls.certificates[{index}]")
                    });
                }
                let clients = listener
                    .tls
                    .iter()
                    .filter_map(|tls| tls.client_certificates.as_ref());
                for clients in clients {
                    found(Role::Authorities, &clients.ca, &|| {
                        "tls.client_certificates.ca".to_owned()
                    });
                }
                listener
                    .protocol
                    .clusters(|name, field| found(Role::Cluster, name, field));
                for (index, attached) in listener.policies().iter().enumerate() {
                    found(Role::Policy, &attached.policy, &|| {
                        format!("http.policies[{index}].policy")
                    });
                }
            }
            Self::Route(route) => {
                for (index, name) in route.listeners.iter().enumerate() {
                    found(Role::HttpListener, name, &|| format!("listeners[{index}]"));
                }
                for (index, attached) in route.policies.iter().enumerate() {
                    found(Role::Policy, &attached.policy, &|| {
                        format!("policies[{index}].policy")
                    });
                }
                if let Action::Forward(forward) = &route.action {
                    for (index, cluster) in forward.clusters.iter().enumerate() {
                        found(Role::Cluster, &cluster.name, &|| {
                            format!("forward.clusters[{index}].name")
                        });
                    }
                }
            }
        }
    }

    /// Whether every reference to `before` that was right is right with this in its place, as far
    /// as what it is goes.
    pub(crate) fn stands_in_for(&self, before: &Self) -> bool {
        Role::ALL
            .into_iter()
            .filter(|role| role.kind() == self.kind())
            .all(|role| role.misfit(self).is_some() == role.misfit(before).is_some())
    }
}
