//! Documents: read with a verdict that says where, and the same after being written.
#![allow(clippy::panic, reason = "a property that does not hold is to be loud")]

use fleetway_api::{
    FieldError, Resource,
    document::{self, Expected, Format},
};

/// The first byte says how the documents are written. Every fault says what is wrong; what has its
/// shape right is the same after being written either way; and no text is made of a secret that has
/// its private parts.
///
/// # Panics
/// Where that does not hold.
pub fn documents(data: &[u8]) {
    let Some((first, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let format = if first % 2 == 0 {
        Format::Yaml
    } else {
        Format::Json
    };
    let values = match document::parse(text, format) {
        Ok(values) => values,
        Err(fault) => return told(&[fault]),
    };
    for value in values {
        let read = match document::read(value, Expected::default(), "input") {
            Ok(read) => read,
            Err(faults) => {
                told(&faults);
                continue;
            }
        };
        let written = document::write_whole(&read.message, None);
        for format in [Format::Json, Format::Yaml] {
            let text = document::to_text(std::slice::from_ref(&written), format);
            let again = document::parse_one(&text, format);
            let again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(again, written, "{text}");
            let again = document::read(again, Expected::default(), "again");
            let again = again.unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
            assert_eq!(again.id, read.id, "{text}");
            assert_eq!(again.message, read.message, "{text}");
        }
        match Resource::read(read.message) {
            Ok(resource) => assert_eq!(resource.id(), read.id),
            Err(faults) => told(&faults),
        }
    }
}

fn told(faults: &[FieldError]) {
    assert!(!faults.is_empty());
    for fault in faults {
        assert!(!fault.message.is_empty(), "{fault:?}");
    }
}
