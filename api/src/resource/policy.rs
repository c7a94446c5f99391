//! The validated policy.

use std::time::Duration;

use fleetway_proto::v1;
use http::StatusCode;

use super::{Common, MILLISECOND, PolicyConfig, label, read_common, read_duration, read_number};
use crate::{FieldError, Kind, Name, error::Checker};

/// A component with what it is to do and what it may use.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Name, fleets, labels.
    pub common: Common,
    /// The component it runs, by the digest of its bytes.
    pub component: Name,
    /// What the component is told to do, where an attachment does not say otherwise.
    pub config: PolicyConfig,
    /// How it meets bodies.
    pub body: BodyAccess,
    /// What one call may use.
    pub limits: PolicyLimits,
    /// What becomes of a request for which it fails.
    pub on_failure: OnFailure,
    /// Requests of its own it may send.
    pub http: PolicyHttp,
}

/// Where a policy may send requests of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyHttp {
    /// The clusters; none to send nothing.
    pub clusters: Box<[Name]>,
    /// The time there is for each request.
    pub timeout: Duration,
}

/// How a policy meets the bodies of requests and responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyAccess {
    /// As its component is made: piece by piece if it can, else not at all.
    AsMade,
    /// Not at all.
    None,
    /// Whole.
    Buffered {
        /// The longest it is given, in bytes.
        max: u32,
    },
    /// Piece by piece.
    Streamed,
}

/// What one call of a policy may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyLimits {
    /// How long it may run.
    pub timeout: Duration,
    /// The memory it may have, in bytes.
    pub memory: u32,
    /// The instructions it may execute, if bounded.
    pub fuel: Option<u64>,
}

/// What becomes of a request for which a policy fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnFailure {
    /// It goes on as if the policy were not there.
    GoOn,
    /// It is answered.
    Respond {
        /// The status, an error.
        status: StatusCode,
        /// The body; `None` for the proxy's own.
        body: Option<Box<str>>,
    },
}

/// The most bytes of a buffered body, and the most where nothing is said.
const MAX_BODY: u32 = 64 << 20;
const DEFAULT_BODY: u32 = 1 << 20;
const MIB: u32 = 1 << 20;
/// The most clusters it may send requests to.
const MAX_CLUSTERS: usize = 16;
/// The longest body of an answer.
const MAX_ANSWER: usize = 64 << 10;

impl Policy {
    pub(super) fn read(message: v1::Policy) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Policy, &message.name));
        let body = BodyAccess::read(&mut check, message.body(), message.max_body);
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let component = read_digest(&mut check, &message.component);
        let config = message.config.unwrap_or_default();
        let config = PolicyConfig::read(&mut check, "config", config);
        let limits = PolicyLimits::read(&mut check, message.limits.unwrap_or_default());
        let on_failure = OnFailure::read(&mut check, message.fail_open, message.on_failure);
        let http = message.http.map(|http| PolicyHttp::read(&mut check, http));
        match (common, component, on_failure) {
            (Some(common), Some(component), Some(on_failure)) if check.is_clean() => Ok(Self {
                common,
                component,
                config,
                body,
                limits,
                on_failure,
                http: http.unwrap_or_default(),
            }),
            _ => Err(check.finish()),
        }
    }
}

impl BodyAccess {
    /// With a component that can pass bodies as they come, or cannot.
    #[must_use]
    pub const fn of_component(self, streams: bool) -> Self {
        match (self, streams) {
            (Self::AsMade, true) => Self::Streamed,
            (Self::AsMade, false) => Self::None,
            (said, _) => said,
        }
    }

    fn read(check: &mut Checker, mode: v1::policy::BodyMode, max: Option<u32>) -> Self {
        use v1::policy::BodyMode;
        let read = match mode {
            BodyMode::Unspecified => Self::AsMade,
            BodyMode::None => Self::None,
            BodyMode::Streamed => Self::Streamed,
            BodyMode::Buffered => {
                let max = read_number(check, "max_body", max, DEFAULT_BODY, (1, MAX_BODY));
                return Self::Buffered { max };
            }
        };
        if max.is_some() {
            check.fault(
                "max_body",
                "is for `body: BUFFERED`: say so, or leave it out",
            );
        }
        read
    }
}

impl PolicyLimits {
    fn read(check: &mut Checker, message: v1::PolicyLimits) -> Self {
        if message.fuel == Some(0) {
            check.fault(
                "limits.fuel",
                "must be at least 1: leave it out for no limit",
            );
        }
        Self {
            timeout: read_duration(
                check,
                "limits.timeout",
                message.timeout,
                Duration::from_millis(50),
                (MILLISECOND, Duration::from_secs(10)),
            ),
            memory: read_number(
                check,
                "limits.memory",
                message.memory,
                32 * MIB,
                (MIB, 256 * MIB),
            ),
            fuel: message.fuel,
        }
    }
}

impl PolicyHttp {
    fn read(check: &mut Checker, message: v1::PolicyHttp) -> Self {
        let field = |index: usize| format!("http.clusters[{index}]");
        let mut clusters = Vec::new();
        for (index, name) in message.clusters.iter().enumerate() {
            match check.take(|| field(index), Name::new(name)) {
                Some(name) if clusters.contains(&name) => {
                    check.fault(field(index), format!("names {name} a second time"));
                }
                name => clusters.extend(name),
            }
        }
        if message.clusters.is_empty() {
            check.fault(
                "http.clusters",
                "is empty: name the clusters the policy may send requests to, or leave `http` out",
            );
        } else if message.clusters.len() > MAX_CLUSTERS {
            check.fault(
                "http.clusters",
                format!("has more than {MAX_CLUSTERS} entries"),
            );
        }
        Self {
            clusters: clusters.into(),
            timeout: read_duration(
                check,
                "http.timeout",
                message.timeout,
                Duration::from_secs(1),
                (MILLISECOND, Duration::from_secs(10)),
            ),
        }
    }
}

impl OnFailure {
    fn read(
        check: &mut Checker,
        fail_open: bool,
        message: Option<v1::PolicyFailure>,
    ) -> Option<Self> {
        if fail_open {
            if message.is_some() {
                check.fault(
                    "on_failure",
                    "is never sent with `fail_open`: leave one of the two out",
                );
            }
            return Some(Self::GoOn);
        }
        let v1::PolicyFailure { status, body } = message.unwrap_or_default();
        if body.as_ref().is_some_and(|body| body.len() > MAX_ANSWER) {
            check.fault("on_failure.body", "must be at most 64 KiB");
        }
        let status = read_number(check, "on_failure.status", status, 500, (400, 599));
        let status = u16::try_from(status).ok();
        Some(Self::Respond {
            status: StatusCode::from_u16(status?).ok()?,
            body: body.map(Into::into),
        })
    }
}

/// Reads the name of a component.
fn read_digest(check: &mut Checker, text: &str) -> Option<Name> {
    const FIELD: &str = "component";
    if text.is_empty() {
        check.fault(
            FIELD,
            "is missing: give the digest that the upload of the component answered with",
        );
        return None;
    }
    let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(hex) {
        check.fault(
            FIELD,
            "is no digest: give the SHA-256 of the component in lower-case hexadecimal, 64 characters",
        );
        return None;
    }
    check.take(|| FIELD.to_owned(), Name::new(text))
}
