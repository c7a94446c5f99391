//! States to test with.

use std::sync::{Arc, LazyLock};

use fleetway_api::{Change, Id, Kind, Name, Resource, proto::v1};

use crate::snapshot::{Encoded, Entry, Snapshot, Stored};

/// A resource that refers to nothing but, for endpoints, the cluster of its name, and for a policy the
/// component that says its name. A component has that for its name which its bytes make.
pub(crate) fn message(kind: Kind, text: &str, fleets: &[&str], salt: u64) -> v1::Resource {
    let name = match kind {
        Kind::Component => component_name(text).to_string(),
        _ => text.to_owned(),
    };
    let fleets = fleets.iter().map(ToString::to_string).collect();
    let labels = [("salt".to_owned(), salt.to_string())].into();
    let kind = match kind {
        Kind::Secret => v1::resource::Kind::Secret(v1::Secret {
            name,
            fleets,
            labels,
            kind: Some(v1::secret::Kind::Certificate(CERTIFICATE.clone())),
        }),
        Kind::Component => v1::resource::Kind::Component(v1::Component {
            wasm: wasm(text),
            name,
            fleets,
            labels,
            facts: None,
        }),
        Kind::Policy => v1::resource::Kind::Policy(v1::Policy {
            component: component_name(text).to_string(),
            name,
            fleets,
            labels,
            ..v1::Policy::default()
        }),
        Kind::Cluster => v1::resource::Kind::Cluster(v1::Cluster {
            name,
            fleets,
            labels,
            ..v1::Cluster::default()
        }),
        Kind::Endpoints => v1::resource::Kind::Endpoints(v1::Endpoints {
            name,
            fleets,
            labels,
            ..v1::Endpoints::default()
        }),
        Kind::Listener => v1::resource::Kind::Listener(v1::Listener {
            name,
            fleets,
            labels,
            address: "127.0.0.1:0".to_owned(),
            protocol: Some(v1::listener::Protocol::Http(v1::HttpListener::default())),
            ..v1::Listener::default()
        }),
        Kind::Route => v1::resource::Kind::Route(v1::Route {
            r#match: Some(v1::RouteMatch {
                hosts: vec![format!("{name}.example.com")],
                ..v1::RouteMatch::default()
            }),
            name,
            fleets,
            labels,
            action: Some(v1::route::Action::Respond(v1::DirectResponse {
                status: 200,
                ..v1::DirectResponse::default()
            })),
            ..v1::Route::default()
        }),
    };
    v1::Resource { kind: Some(kind) }
}

/// The bytes of a component that says a text and does nothing: a custom section.
fn wasm(text: &str) -> bytes::Bytes {
    let mut wasm = b"\0asm\x0d\0\x01\0\0".to_vec();
    let length = u8::try_from(text.len()).unwrap();
    wasm.extend([length + 1, length]);
    wasm.extend(text.as_bytes());
    wasm.into()
}

/// The name of the component that says a text.
pub(crate) fn component_name(text: &str) -> Name {
    Name::new(&fleetway_api::component_digest(&wasm(text))).unwrap()
}

/// A certificate with its key.
static CERTIFICATE: LazyLock<v1::Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
    v1::Certificate {
        chain: made.cert.pem(),
        private_key: made.signing_key.serialize_pem(),
        ocsp_response: None,
    }
});

/// One change of a test's revision.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Put(Kind, String, Vec<&'static str>),
    /// A listener that names these secrets.
    Naming(String, Vec<&'static str>, Vec<&'static str>),
    /// A policy of the component that says this.
    Policy(String, Vec<&'static str>, &'static str),
    /// A route that names these policies.
    Attaching(String, Vec<&'static str>, Vec<&'static str>),
    Delete(Kind, String),
}

impl Edit {
    /// Which resource it changes.
    pub(crate) fn id(&self) -> Id {
        let (kind, name) = match self {
            Self::Put(kind, name, _) | Self::Delete(kind, name) => (*kind, name),
            Self::Naming(name, ..) => (Kind::Listener, name),
            Self::Policy(name, ..) => (Kind::Policy, name),
            Self::Attaching(name, ..) => (Kind::Route, name),
        };
        match kind {
            Kind::Component => Id::new(kind, component_name(name)),
            _ => Id::new(kind, Name::new(name).unwrap()),
        }
    }

    /// What is put.
    fn message(&self, salt: u64) -> Option<v1::Resource> {
        match self {
            Self::Delete(..) => None,
            Self::Put(kind, name, fleets) => Some(message(*kind, name, fleets, salt)),
            Self::Policy(name, fleets, says) => {
                let mut policy = message(Kind::Policy, name, fleets, salt);
                if let Some(v1::resource::Kind::Policy(policy)) = &mut policy.kind {
                    policy.component = component_name(says).to_string();
                }
                Some(policy)
            }
            Self::Attaching(name, fleets, policies) => {
                let mut route = message(Kind::Route, name, fleets, salt);
                if let Some(v1::resource::Kind::Route(route)) = &mut route.kind {
                    let attach = |policy: &&str| v1::PolicyAttachment {
                        policy: (*policy).to_owned(),
                        stage: v1::policy_attachment::Stage::PreRoute.into(),
                        config: None,
                    };
                    route.policies = policies.iter().map(attach).collect();
                }
                Some(route)
            }
            Self::Naming(name, fleets, secrets) => {
                let mut listener = message(Kind::Listener, name, fleets, salt);
                if let Some(v1::resource::Kind::Listener(listener)) = &mut listener.kind {
                    listener.tls = Some(v1::ListenerTls {
                        certificates: secrets.iter().map(ToString::to_string).collect(),
                        ..v1::ListenerTls::default()
                    });
                }
                Some(listener)
            }
        }
    }
}

/// A listener that names these secrets.
pub(crate) fn naming(name: &str, fleets: &[&'static str], secrets: &[&'static str]) -> Edit {
    Edit::Naming(name.to_owned(), fleets.to_vec(), secrets.to_vec())
}

/// A policy of the component that says `says`.
pub(crate) fn policy(name: &str, fleets: &[&'static str], says: &'static str) -> Edit {
    Edit::Policy(name.to_owned(), fleets.to_vec(), says)
}

/// A route that names these policies.
pub(crate) fn attaching(name: &str, fleets: &[&'static str], policies: &[&'static str]) -> Edit {
    Edit::Attaching(name.to_owned(), fleets.to_vec(), policies.to_vec())
}

pub(crate) fn put(kind: Kind, name: &str, fleets: &[&'static str]) -> Edit {
    Edit::Put(kind, name.to_owned(), fleets.to_vec())
}

pub(crate) fn delete(kind: Kind, name: &str) -> Edit {
    Edit::Delete(kind, name.to_owned())
}

/// The state after one more revision; its time is its number.
pub(crate) fn next(current: &Arc<Snapshot>, edits: &[Edit]) -> Arc<Snapshot> {
    try_next(current, edits).unwrap()
}

/// The same, unless it would not be valid.
pub(crate) fn try_next(current: &Arc<Snapshot>, edits: &[Edit]) -> Option<Arc<Snapshot>> {
    let revision = current.revision() + 1;
    let time_ms = i64::try_from(revision).unwrap();
    // Other content under the same number in another history.
    let epoch = current.history().newest().map_or(0, |epoch| epoch.id);
    let salt = epoch * 1_000_000 + revision;
    let changes = edits
        .iter()
        .map(|edit| {
            let Some(message) = edit.message(salt) else {
                return Change::Delete(edit.id());
            };
            let encoded = Encoded::new(&message, edit.id().name.as_str(), revision).unwrap();
            Change::Put(Arc::new(Entry {
                resource: Resource::read(message).unwrap(),
                data: Stored {
                    version: revision,
                    created_ms: time_ms,
                    updated_ms: time_ms,
                    updated_by: "test".into(),
                    encoded,
                },
            }))
        })
        .collect();
    current.next(revision, time_ms, changes).ok().map(Arc::new)
}
