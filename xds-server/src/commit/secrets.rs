//! What is different about writing a secret: its key may be left to be kept, and what is of
//! no use is not taken.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fleetway_api::{FieldError, Id, Kind, Resource, Secret, proto::v1};

use super::components;

/// The message with the key of what there is, where it has only the sign of it; a component with the
/// bytes there are, where it has none.
pub(super) fn with_kept<'a>(
    id: &Id,
    message: &'a v1::Resource,
    before: Option<&v1::Resource>,
) -> Result<Cow<'a, v1::Resource>, FieldError> {
    if !is_kept(id.kind) {
        return Ok(Cow::Borrowed(message));
    }
    let mut message = message.clone();
    match &mut message.kind {
        Some(v1::resource::Kind::Secret(written)) => {
            Secret::keep(written, before.and_then(secret)).map_err(|unkept| unkept.fault(id))?;
        }
        Some(v1::resource::Kind::Component(written)) => components::keep(written, before),
        _ => {}
    }
    Ok(Cow::Owned(message))
}

/// Whether what is written of a kind may leave a part of what there is to be kept.
pub(super) const fn is_kept(kind: Kind) -> bool {
    matches!(kind, Kind::Secret | Kind::Component)
}

/// What of a written secret is of no use, as it has expired. One that is as it was, and only bears other labels or
/// goes elsewhere, is not asked: it is there already.
pub(super) fn unusable(
    resource: &Resource,
    message: &v1::Resource,
    before: Option<&v1::Resource>,
    now_ms: i64,
) -> Vec<FieldError> {
    let Resource::Secret(read) = resource else {
        return Vec::new();
    };
    let said = |message: &v1::Resource| secret(message).and_then(|secret| secret.kind.clone());
    if before.is_some_and(|before| said(before) == said(message)) {
        return Vec::new();
    }
    read.unusable(time(now_ms))
}

/// Why no secret is taken where the store has no key to encrypt it with.
pub(super) fn keyless(id: &Id) -> FieldError {
    FieldError::new(
        id,
        "",
        "cannot be stored: the server has no master key to encrypt it with. Make one with `(umask 077; fleetway-xds generate-key > FILE)` and start the server with --master-key-file FILE",
    )
}

fn secret(message: &v1::Resource) -> Option<&v1::Secret> {
    match &message.kind {
        Some(v1::resource::Kind::Secret(secret)) => Some(secret),
        _ => None,
    }
}

fn time(ms: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
