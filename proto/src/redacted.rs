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
