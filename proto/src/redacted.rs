//! What of a message is shown where messages are printed.

use std::fmt;

use crate::v1;

/// Without the key.
impl fmt::Debug for v1::Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("chain", &self.chain)
            .field("ocsp_response", &self.ocsp_response)
            .finish_non_exhaustive()
    }
}

/// Without the bytes, which are many.
impl fmt::Debug for v1::Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name)
            .field("fleets", &self.fleets)
            .field("labels", &self.labels)
            .field("wasm", &format_args!("{} bytes", self.wasm.len()))
            .field("facts", &self.facts)
            .finish()
    }
}
