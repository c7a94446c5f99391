//! The validated component: bytes that look like one, under their digest.

use bytes::Bytes;
use fleetway_proto::v1;

use super::{Common, label, read_common};
use crate::{FieldError, Kind, error::Checker};

/// The program of policies.
#[derive(Clone)]
pub struct Component {
    /// Name, fleets, labels. The name is the digest of the bytes.
    pub common: Common,
    /// The bytes of a WebAssembly component.
    pub wasm: Bytes,
}

/// Without the bytes, which are many.
impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("common", &self.common)
            .field("wasm", &format_args!("{} bytes", self.wasm.len()))
            .finish()
    }
}

/// The field of the bytes.
pub(crate) const WASM: &str = "wasm";
/// What every WebAssembly binary begins with.
const MAGIC: &[u8] = b"\0asm";
/// What follows in a component: version 13 of layer 1.
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
/// What follows in a core module: version 1 of layer 0.
const MODULE: &[u8] = &[1, 0, 0, 0];

impl Component {
    /// The most bytes of one: 64 MiB.
    pub const MAX_BYTES: usize = 64 << 20;

    pub(super) fn read(message: v1::Component) -> Result<Self, Vec<FieldError>> {
        let mut check = Checker::new(label(Kind::Component, &message.name));
        let common = read_common(&mut check, &message.name, &message.fleets, message.labels);
        let wasm = message.wasm;
        if wasm.is_empty() {
            check.fault(
                WASM,
                "is missing: upload the bytes with `PUT /v1/components`; a proxy's folder of resources takes them as a file `*.wasm`",
            );
        } else if let Err(fault) = Self::check_bytes(&wasm) {
            check.fault(WASM, fault);
        } else if let Some(common) = &common {
            let digest = component_digest(&wasm);
            if common.name.as_str() != digest {
                check.fault("name", format!("is not the SHA-256 of the bytes: {digest}"));
            }
        }
        match common {
            Some(common) if check.is_clean() => Ok(Self { common, wasm }),
            _ => Err(check.finish()),
        }
    }

    /// Looks at the length and the preamble of a component.
    ///
    /// # Errors
    /// What is wrong, and the remedy.
    pub fn check_bytes(wasm: &[u8]) -> Result<(), String> {
        if wasm.len() > Self::MAX_BYTES {
            return Err(format!(
                "is {} bytes long, {} are the most",
                wasm.len(),
                Self::MAX_BYTES
            ));
        }
        let rest = wasm.strip_prefix(MAGIC).and_then(|rest| rest.get(..4));
        let fault = match rest {
            Some(COMPONENT) => return Ok(()),
            Some(MODULE) => {
                "is a core module: make a component of it, as `wasm-tools component new` does"
            }
            Some(_) => {
                "is WebAssembly of a version that is not known: build a component, which begins with the bytes 00 61 73 6d 0d 00 01 00"
            }
            None => {
                "is no WebAssembly: give a component in its binary form, which begins with the bytes 00 61 73 6d 0d 00 01 00"
            }
        };
        Err(fault.to_owned())
    }

    /// The component as it is shown: without its bytes.
    #[must_use]
    pub fn without_bytes(message: &v1::Component) -> v1::Component {
        v1::Component {
            wasm: Bytes::new(),
            ..message.clone()
        }
    }

    /// Puts the bytes of `stored` in the place of none, and what is known of them. Bytes that are
    /// there stay.
    pub fn keep(message: &mut v1::Component, stored: Option<&v1::Component>) {
        let Some(stored) = stored else { return };
        if message.wasm.is_empty() {
            message.wasm = stored.wasm.clone();
        }
        if message.wasm == stored.wasm {
            message.facts.clone_from(&stored.facts);
        }
    }
}

/// The name of the component with these bytes: their SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn component_digest(wasm: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, wasm);
    hex(digest.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn message(name: &str, wasm: &[u8]) -> v1::Component {
        v1::Component {
            name: name.to_owned(),
            wasm: Bytes::copy_from_slice(wasm),
            ..v1::Component::default()
        }
    }

    #[test]
    fn a_component_is_named_by_its_bytes() {
        let digest = component_digest(EMPTY);
        assert_eq!(digest.len(), 64);
        let component = Component::read(message(&digest, EMPTY)).unwrap();
        assert_eq!(component.wasm, EMPTY);
        let faults = Component::read(message("redact", EMPTY)).unwrap_err();
        assert_eq!(
            faults[0].to_string(),
            format!("components/redact: name: is not the SHA-256 of the bytes: {digest}")
        );
    }

    #[test]
    fn what_is_no_component_is_refused() {
        for (wasm, said) in [
            (&b""[..], "wasm: is missing: upload the bytes"),
            (b"\0asm", "wasm: is no WebAssembly"),
            (b"\0asn\x0d\0\x01\0", "wasm: is no WebAssembly"),
            (b"\0asm\x01\0\0\0", "wasm: is a core module"),
            (b"\0asm\x0e\0\x01\0", "wasm: is WebAssembly of a version"),
        ] {
            let faults = Component::read(message("c", wasm)).unwrap_err();
            let fault = faults[0].to_string();
            assert!(
                fault.starts_with(&format!("components/c: {said}")),
                "{fault}"
            );
        }
        let long = vec![0; Component::MAX_BYTES + 1];
        let fault = Component::check_bytes(&long).unwrap_err();
        assert_eq!(fault, "is 67108865 bytes long, 67108864 are the most");
    }

    #[test]
    fn bytes_left_out_are_those_there_are() {
        let digest = component_digest(EMPTY);
        let facts = Some(v1::ComponentFacts {
            size: 8,
            ..v1::ComponentFacts::default()
        });
        let stored = v1::Component {
            facts: facts.clone(),
            ..message(&digest, EMPTY)
        };
        let mut written = message(&digest, b"");
        Component::keep(&mut written, None);
        assert!(written.wasm.is_empty());
        Component::keep(&mut written, Some(&stored));
        assert_eq!(written, stored);
        let shown = Component::without_bytes(&stored);
        assert!(shown.wasm.is_empty());
        assert_eq!(shown.facts, facts);
    }
}
