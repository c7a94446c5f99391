//! The `date` field's value, made once a second on each thread.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use crate::clock;

thread_local! {
    /// The value, and until when it is the current one.
    static DATE: RefCell<Option<(HeaderValue, Instant)>> = const { RefCell::new(None) };
}

/// Gives `what` the current date as an IMF-fixdate (RFC 9110 section 5.6.7).
fn with<T>(what: impl FnOnce(&HeaderValue) -> T) -> T {
    let now = clock::now();
    DATE.with_borrow_mut(|cached| {
        if let Some((value, until)) = cached
            && now < *until
        {
            return what(value);
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let second = Duration::from_secs(since.as_secs());
        let until = now + (second + Duration::from_secs(1)).saturating_sub(since);
        let date = httpdate::HttpDate::from(UNIX_EPOCH + second).to_string();
        let value = HeaderValue::from_maybe_shared(Bytes::from(date))
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        what(&cached.insert((value, until)).0)
    })
}

/// The current date.
#[must_use]
pub fn date() -> HeaderValue {
    with(HeaderValue::clone)
}

/// Appends the current date.
pub fn put_date(out: &mut Vec<u8>) {
    with(|value| out.extend_from_slice(value.as_bytes()));
}
