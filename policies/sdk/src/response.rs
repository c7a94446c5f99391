//! Responses.

use crate::raw::types as raw;
use crate::{ChangeError, Headers};

/// A response, the upstream's or the proxy's own.
#[derive(Clone, Copy)]
pub struct Response<'a>(pub(crate) &'a raw::Response);

impl Response<'_> {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Takes 200 to 599.
    pub fn set_status(&self, status: u16) -> Result<(), ChangeError> {
        self.0.set_status(status)
    }

    /// Its header fields.
    pub fn headers(&self) -> Headers {
        Headers(self.0.headers())
    }
}
