//! What holds of the last good configuration on disk, whatever the file says.

use crate::xds::last_good::{FIRST_FORMAT, HEADER, decode, encode, no_component, seal};

/// The fleet of the proxy that reads.
const FLEET: &str = "edge";

/// What is read is written as it was read. The input is what follows the header, which is made to
/// fit it: otherwise its checksum would keep out everything else. Without it nothing is read.
///
/// # Panics
/// Where that does not hold.
pub fn last_good(data: &[u8]) {
    assert!(decode(data, FLEET, no_component).is_err() || data.len() > HEADER);
    let mut file = vec![0; HEADER];
    file.extend_from_slice(data);
    seal(&mut file, FIRST_FORMAT);
    let Ok(saved) = decode(&file, FLEET, no_component) else {
        return;
    };
    assert!(decode(&file, "another", no_component).is_err());
    let written = encode(FLEET, &saved).expect("slices shorter than 4 GiB");
    let again = decode(&written, FLEET, no_component).expect("what was written");
    assert_eq!(again.server, saved.server);
    assert_eq!(again.held.revision(), saved.held.revision());
    let wires = |held: &super::Held| -> Vec<_> {
        let entries = held.resources().iter();
        entries
            .map(|entry| (entry.resource.id(), entry.data.clone()))
            .collect()
    };
    assert_eq!(wires(&again.held), wires(&saved.held));
    assert_eq!(encode(FLEET, &again).expect("as before"), written);
    // No part of it is a file.
    for end in [0, HEADER - 1, HEADER, written.len() - 1] {
        assert!(decode(written.get(..end).unwrap_or_default(), FLEET, no_component).is_err());
    }
}
