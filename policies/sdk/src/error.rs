//! Why a policy could not do its work.

use std::fmt;

use crate::ChangeError;

/// Why a policy could not do its work. Everything that is an error becomes one with `?`.
pub struct Error(String);

impl Error {
    /// One that says this.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ChangeError {
    /// Its name, as the ABI writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too-large",
            Self::ReadOnly => "read-only",
        }
    }
}
