//! What holds of a TLS client's first message, whatever comes.

use super::hello::{Hello, MAX_HELLO};

/// The name is the same however the message is cut, and is one a certificate can have.
///
/// # Panics
/// Where that does not hold.
pub fn client_hello(data: &[u8]) {
    let data = data.get(..MAX_HELLO).unwrap_or(data);
    let whole = Hello::default().look(data);
    // What is peeked at grows, and is looked at from its first byte again each time.
    for step in [1, 7, 300] {
        let mut hello = Hello::default();
        let ends = (0..data.len()).step_by(step).chain([data.len()]);
        let grown = ends
            .filter_map(|end| data.get(..end))
            .find_map(|seen| hello.look(seen));
        match (&whole, &grown) {
            (Some(Err(_)), Some(Err(_))) => {}
            (whole, grown) => assert_eq!(whole, grown, "in steps of {step}"),
        }
    }
    if let Some(Ok(Some(name))) = whole {
        assert!((1..=253).contains(&name.len()), "{name}");
        let is_label =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        assert!(name.bytes().all(is_label), "{name}");
    }
}
