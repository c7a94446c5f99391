//! The validated resources: what a message means, with every value known to be good.
//!
//! Each is made from its message by one `read` function that notes every fault it finds and goes
//! on, so that a user sees them all at once.

mod access_log;
mod cluster;
mod component;
mod config;
mod header_rules;
mod host;
mod listener;
mod listener_tcp;
mod policy;
mod policy_attachment;
mod proxy_protocol;
mod reference;
mod route;
mod route_action;
mod route_match;
mod secret;
mod template;
mod tls;
mod tls_passthrough;
mod upgrades;
mod weighted;

use std::{collections::BTreeMap, hash::BuildHasher as _, time::Duration};

pub use access_log::AccessLog;
use bytes::Buf;
pub use cluster::{Cluster, Endpoint, Endpoints, UpstreamProtocol};
pub use component::{Component, component_digest};
pub use config::PolicyConfig;
use fleetway_proto::{Duration as ProtoDuration, v1};
pub use header_rules::HeaderRules;
pub use host::HostPattern;
#[cfg(feature = "bootstrap")]
pub(crate) use listener::parse_address;
pub use listener::{
    ConnectionLimits, EscapedSlashes, HttpLimits, HttpListener, Listener, ListenerTls,
    PathNormalization, Protocol, Underscores,
};
pub use listener_tcp::{Relay, TcpListener};
pub use policy::{BodyAccess, OnFailure, Policy, PolicyHttp, PolicyLimits};
pub use policy_attachment::{PolicyAttachment, Stage};
use prost::Message as _;
pub use proxy_protocol::{ProxyProtocol, ProxyProtocolVersion};
pub use reference::Role;
pub use route::Route;
pub use route_action::{
    Action, DirectResponse, Forward, PathRewrite, Redirect, RedirectPath, Rewrite,
};
pub use route_match::{HeaderMatch, PathMatch, QueryMatch, ValueMatch};
pub(crate) use secret::redacted;
pub use secret::{
    CaBundle, Certificate, CertificateFacts, CrlFacts, Revocation, Secret, SecretKind, Unkept,
};
pub use template::{Captures, Segment, Template};
pub use tls::{Alpn, ClientCertificates, SubjectAltName, TlsVersion, UpstreamTls};
pub use tls_passthrough::{TlsPassthrough, TlsServer};
pub use upgrades::Upgrades;
pub use weighted::WeightedCluster;

use crate::{
    FieldError, Id, Kind, Name,
    error::{Checker, shortened},
};

/// The fleets a resource goes to; none named means every fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleets(Box<[Name]>);

impl Fleets {
    /// Whether a proxy of `fleet` gets the resource.
    #[must_use]
    pub fn contains(&self, fleet: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| name.as_str() == fleet)
    }

    /// Whether every proxy that gets `other` gets this too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.is_empty()
            || (!other.0.is_empty() && other.0.iter().all(|fleet| self.contains(fleet.as_str())))
    }

    /// Whether some proxy gets both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.is_empty()
            || other.0.iter().any(|fleet| self.contains(fleet.as_str()))
            || other.0.is_empty()
    }

    /// The names; empty for every fleet.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.0
    }
}

/// What every resource has.
#[derive(Debug, Clone)]
pub struct Common {
    /// Its name, unique within its kind.
    pub name: Name,
    /// The fleets it goes to.
    pub fleets: Fleets,
    /// What users select it by.
    pub labels: BTreeMap<String, String>,
}

/// A validated resource of any kind. Boxed, as the kinds differ much in size and a set holds many.
#[derive(Debug, Clone)]
pub enum Resource {
    /// A certificate, or whom to believe.
    Secret(Box<Secret>),
    /// The program of policies.
    Component(Box<Component>),
    /// A component with what it is to do.
    Policy(Box<Policy>),
    /// A named upstream.
    Cluster(Box<Cluster>),
    /// The members of a cluster that is fed from outside.
    Endpoints(Box<Endpoints>),
    /// A socket.
    Listener(Box<Listener>),
    /// A route.
    Route(Box<Route>),
}

/// What a resource takes for itself alone: two that claim the same cannot be in one fleet.
pub(crate) type Claim = u64;

impl Resource {
    /// Validates a message by itself; references to others are [`crate::ResourceSet`]'s part.
    ///
    /// # Errors
    /// All faults, each with the field's path.
    pub fn read(message: v1::Resource) -> Result<Self, Vec<FieldError>> {
        match message.kind {
            Some(v1::resource::Kind::Secret(message)) => {
                Secret::read(message).map(|secret| Self::Secret(Box::new(secret)))
            }
            Some(v1::resource::Kind::Component(message)) => {
                Component::read(message).map(|component| Self::Component(Box::new(component)))
            }
            Some(v1::resource::Kind::Policy(message)) => {
                Policy::read(message).map(|policy| Self::Policy(Box::new(policy)))
            }
            Some(v1::resource::Kind::Cluster(message)) => {
                Cluster::read(message).map(|cluster| Self::Cluster(Box::new(cluster)))
            }
            Some(v1::resource::Kind::Endpoints(message)) => {
                Endpoints::read(message).map(|endpoints| Self::Endpoints(Box::new(endpoints)))
            }
            Some(v1::resource::Kind::Listener(message)) => {
                Listener::read(message).map(|listener| Self::Listener(Box::new(listener)))
            }
            Some(v1::resource::Kind::Route(message)) => {
                Route::read(message).map(|route| Self::Route(Box::new(route)))
            }
            None => Err(vec![FieldError::new("", "", "a resource without a kind")]),
        }
    }

    /// Decodes and validates the wire form of one kind.
    ///
    /// # Errors
    /// When the bytes are no such message, or all faults of the message.
    pub fn decode(kind: Kind, bytes: impl Buf) -> Result<Self, Vec<FieldError>> {
        let message = decode_message(kind, bytes).map_err(|error| {
            vec![FieldError::new(
                kind.plural(),
                "",
                format!("cannot be decoded: {error}"),
            )]
        })?;
        Self::read(message)
    }

    /// What every resource has.
    #[must_use]
    pub fn common(&self) -> &Common {
        match self {
            Self::Secret(secret) => &secret.common,
            Self::Component(component) => &component.common,
            Self::Policy(policy) => &policy.common,
            Self::Cluster(cluster) => &cluster.common,
            Self::Endpoints(endpoints) => &endpoints.common,
            Self::Listener(listener) => &listener.common,
            Self::Route(route) => &route.common,
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Secret(_) => Kind::Secret,
            Self::Component(_) => Kind::Component,
            Self::Policy(_) => Kind::Policy,
            Self::Cluster(_) => Kind::Cluster,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Listener(_) => Kind::Listener,
            Self::Route(_) => Kind::Route,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.common().name
    }

    /// Its kind and name.
    #[must_use]
    pub fn id(&self) -> Id {
        Id::new(self.kind(), self.name().clone())
    }

    /// Hashes of what it claims for itself; [`Resource::conflict`] then tells for certain.
    pub(crate) fn claims(&self, mut found: impl FnMut(Claim)) {
        let hasher = foldhash::fast::FixedState::default();
        match self {
            Self::Secret(_)
            | Self::Component(_)
            | Self::Policy(_)
            | Self::Cluster(_)
            | Self::Endpoints(_) => {}
            Self::Listener(listener) => {
                // Of one port, as a wildcard meets every address.
                let port = listener.address.port();
                if port != 0 {
                    found(hasher.hash_one(("listener", port)));
                }
            }
            Self::Route(route) => {
                let rest = route.match_key();
                for host in &route.hosts {
                    found(hasher.hash_one((host, &rest)));
                }
            }
        }
    }

    /// Why the two cannot be in force together, if so: the field of `self` and the reason.
    pub(crate) fn conflict(&self, other: &Self) -> Option<(&'static str, String)> {
        if !self.common().fleets.overlaps(&other.common().fleets) {
            return None;
        }
        match (self, other) {
            (Self::Listener(one), Self::Listener(two)) => {
                listener::meet(one.address, two.address).then(|| {
                    let taken = if one.address == two.address {
                        format!("{} is already taken by {}", one.address, other.id())
                    } else {
                        format!(
                            "{} cannot be bound beside {} of {}",
                            one.address,
                            two.address,
                            other.id()
                        )
                    };
                    (
                        "address",
                        format!(
                            "{taken} in the same fleet: choose another port or keep their `fleets` apart"
                        ),
                    )
                })
            }
            (Self::Route(one), Self::Route(two)) => {
                let host = one.hosts.iter().find(|host| two.hosts.contains(host))?;
                let together = one.listeners.is_empty()
                    || two.listeners.is_empty()
                    || one
                        .listeners
                        .iter()
                        .any(|name| two.listeners.contains(name));
                (together && one.match_key() == two.match_key()).then(|| {
                    (
                        "match",
                        format!(
                            "takes the same requests as {} (host {host}, priority {}): change the match or give one a higher `priority`",
                            other.id(),
                            one.priority
                        ),
                    )
                })
            }
            _ => None,
        }
    }
}

/// Decodes the wire form of one kind, without looking at what it says. A component shares its bytes
/// with a `Bytes` it is decoded from.
///
/// # Errors
/// When the bytes are no such message.
pub fn decode_message(kind: Kind, bytes: impl Buf) -> Result<v1::Resource, prost::DecodeError> {
    let kind = match kind {
        Kind::Secret => v1::resource::Kind::Secret(v1::Secret::decode(bytes)?),
        Kind::Component => v1::resource::Kind::Component(v1::Component::decode(bytes)?),
        Kind::Policy => v1::resource::Kind::Policy(v1::Policy::decode(bytes)?),
        Kind::Cluster => v1::resource::Kind::Cluster(v1::Cluster::decode(bytes)?),
        Kind::Endpoints => v1::resource::Kind::Endpoints(v1::Endpoints::decode(bytes)?),
        Kind::Listener => v1::resource::Kind::Listener(v1::Listener::decode(bytes)?),
        Kind::Route => v1::resource::Kind::Route(v1::Route::decode(bytes)?),
    };
    Ok(v1::Resource { kind: Some(kind) })
}

/// Encodes a message in the wire form of its kind; [`decode_message`] reads it. `None` for one
/// without a kind.
#[must_use]
pub fn encode_message(message: &v1::Resource) -> Option<(Kind, Vec<u8>)> {
    Some(match message.kind.as_ref()? {
        v1::resource::Kind::Secret(message) => (Kind::Secret, message.encode_to_vec()),
        v1::resource::Kind::Component(message) => (Kind::Component, message.encode_to_vec()),
        v1::resource::Kind::Policy(message) => (Kind::Policy, message.encode_to_vec()),
        v1::resource::Kind::Cluster(message) => (Kind::Cluster, message.encode_to_vec()),
        v1::resource::Kind::Endpoints(message) => (Kind::Endpoints, message.encode_to_vec()),
        v1::resource::Kind::Listener(message) => (Kind::Listener, message.encode_to_vec()),
        v1::resource::Kind::Route(message) => (Kind::Route, message.encode_to_vec()),
    })
}

/// The name a fault is reported under: `routes/users`, or `routes` while the name is unusable.
fn label(kind: Kind, name: &str) -> String {
    if name.is_empty() {
        kind.plural().to_owned()
    } else {
        format!("{}/{name}", kind.plural())
    }
}

/// Reads the fields every resource has.
fn read_common(
    check: &mut Checker,
    name: &str,
    fleets: &[String],
    labels: BTreeMap<String, String>,
) -> Option<Common> {
    let name = if name.is_empty() {
        check.fault("name", "is missing: every resource needs a name");
        None
    } else {
        check.take(|| "name".into(), Name::new(name))
    };
    let mut names: Vec<Name> = Vec::with_capacity(fleets.len());
    for (index, fleet) in fleets.iter().enumerate() {
        if let Some(fleet) = check.take(|| format!("fleets[{index}]"), Name::new(fleet)) {
            if names.contains(&fleet) {
                check.fault(
                    format!("fleets[{index}]"),
                    format!("names {fleet} a second time"),
                );
            } else {
                names.push(fleet);
            }
        }
    }
    for (key, value) in &labels {
        if !is_label(key) || key.is_empty() || !is_label(value) {
            check.fault(
                format!("labels.{}", shortened(key)),
                "keys and values must be up to 63 characters of a-z, A-Z, 0-9, \"-\", \"_\", \".\" and \"/\", keys not empty",
            );
        }
    }
    Some(Common {
        name: name?,
        fleets: Fleets(names.into()),
        labels,
    })
}

fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'/'))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Reads a duration within bounds; absent means `default`.
fn read_duration(
    check: &mut Checker,
    field: &str,
    value: Option<ProtoDuration>,
    default: Duration,
    (least, most): (Duration, Duration),
) -> Duration {
    let Some(value) = value else { return default };
    match Duration::try_from(value) {
        Ok(duration) if (least..=most).contains(&duration) => duration,
        Ok(_) => {
            check.fault(
                field,
                format!("must be between {} and {}", human(least), human(most)),
            );
            default
        }
        Err(error) => {
            check.fault(field, error.to_string());
            default
        }
    }
}

/// Reads a limit in time where `0s` means none; absent means `default`.
fn read_limit(
    check: &mut Checker,
    field: &str,
    value: Option<ProtoDuration>,
    default: Duration,
) -> Option<Duration> {
    match value {
        None => Some(default),
        Some(_) => read_limit_or_none(check, field, value),
    }
}

/// Reads a limit in time; `0s` and absent mean none.
fn read_limit_or_none(
    check: &mut Checker,
    field: &str,
    value: Option<ProtoDuration>,
) -> Option<Duration> {
    match value.map(Duration::try_from) {
        None | Some(Ok(Duration::ZERO)) => None,
        Some(Ok(duration)) if (MILLISECOND..=DAY).contains(&duration) => Some(duration),
        Some(Ok(_)) => {
            check.fault(field, "must be between 1ms and 24h, or 0s for no limit");
            None
        }
        Some(Err(error)) => {
            check.fault(field, error.to_string());
            None
        }
    }
}

/// Reads a number within bounds; absent means `default`.
fn read_number(
    check: &mut Checker,
    field: &str,
    value: Option<u32>,
    default: u32,
    (least, most): (u32, u32),
) -> u32 {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            check.fault(field, format!("must be between {least} and {most}"));
            default
        }
        value => value.unwrap_or(default),
    }
}

fn human(duration: Duration) -> String {
    match duration.as_secs() {
        _ if duration.is_zero() => "0s".to_owned(),
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => {
            format!("{}h", seconds / 3600)
        }
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{duration:?}"),
    }
}
