//! Which other protocols a client may change to, and how that is said on either side (RFC 9110
//! section 7.8).

use fleetway_api::Upgrades;
use http::{HeaderMap, HeaderValue, header};

/// The option of `Connection` that goes with `Upgrade`.
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// Puts into a request what of `asked`, the client's `Upgrade`, is allowed. Where nothing is, the
/// request goes on as if it had not asked.
pub(super) fn ask(fields: &mut HeaderMap, asked: &HeaderValue, allowed: &Upgrades) {
    let Ok(asked) = asked.to_str() else { return };
    let allowed: Vec<&str> = asked
        .split(',')
        .map(str::trim)
        .filter(|protocol| allowed.allow(protocol))
        .collect();
    if allowed.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
        fields.insert(header::UPGRADE, value);
        // Beside `te`, which may be there.
        fields.append(header::CONNECTION, UPGRADE);
    }
}

/// Puts back into a 101 what says which protocol follows: the upstream's `Upgrade`.
pub(super) fn answer(fields: &mut HeaderMap, switched: Option<HeaderValue>) {
    if let Some(protocol) = switched {
        fields.insert(header::UPGRADE, protocol);
        fields.insert(header::CONNECTION, UPGRADE);
    }
}
