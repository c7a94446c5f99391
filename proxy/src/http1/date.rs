//! The `date` field's value, made once a second on each thread.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The length of an IMF-fixdate (RFC 9110 section 5.6.7).
const LENGTH: usize = 29;

struct Cached {
    second: u64,
    text: String,
}

thread_local! {
    static DATE: RefCell<Cached> =
        const { RefCell::new(Cached { second: u64::MAX, text: String::new() }) };
}

/// Appends the current date as an IMF-fixdate.
pub(super) fn put_date(out: &mut Vec<u8>) {
    let second = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    DATE.with_borrow_mut(|cached| {
        if cached.second != second {
            cached.second = second;
            cached.text.clear();
            cached.text.reserve(LENGTH);
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
            // Writing to a String does not fail.
            let _ = write!(cached.text, "{date}");
        }
        out.extend_from_slice(cached.text.as_bytes());
    });
}
