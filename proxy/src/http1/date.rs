//! The `date` field's value, made once a second on each thread.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::clock;

/// The length of an IMF-fixdate (RFC 9110 section 5.6.7).
const LENGTH: usize = 29;

struct Cached {
    /// Until when it is the current one.
    until: Option<Instant>,
    text: String,
}

thread_local! {
    static DATE: RefCell<Cached> =
        const { RefCell::new(Cached { until: None, text: String::new() }) };
}

/// Appends the current date as an IMF-fixdate.
pub(super) fn put_date(out: &mut Vec<u8>) {
    let now = clock::now();
    DATE.with_borrow_mut(|cached| {
        if cached.until.is_none_or(|until| until <= now) {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO);
            let second = Duration::from_secs(since.as_secs());
            cached.until = Some(now + (second + Duration::from_secs(1)).saturating_sub(since));
            cached.text.clear();
            cached.text.reserve(LENGTH);
            let date = httpdate::HttpDate::from(UNIX_EPOCH + second);
            // Writing to a String does not fail.
            let _ = write!(cached.text, "{date}");
        }
        out.extend_from_slice(cached.text.as_bytes());
    });
}
