//! What is wrong with resources: every fault with the resource and the field it is in.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Id;

/// One fault: which resource, which field, what is wrong and how to mend it.
///
/// Prints as `routes/users: match.path.prefix: must begin with "/"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The resource as `routes/users`, or where it stands (`routes.yaml, document 3`) when it has
    /// no usable name; empty where the request as a whole is meant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The field's path, `match.path.prefix` or `endpoints[2].address`; empty for the whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl FieldError {
    /// A fault of `resource` in `field`.
    pub fn new(
        resource: impl ToString,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            resource: resource.to_string(),
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.resource, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// Why a set of changes cannot be: all faults at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejection {
    /// Every fault found, at least one.
    pub errors: Vec<FieldError>,
    /// The resources that still refer to one that was to be deleted. Only filled where that is the
    /// sole kind of fault.
    pub referrers: Vec<Id>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}

impl From<Vec<FieldError>> for Rejection {
    fn from(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            referrers: Vec::new(),
        }
    }
}

/// The most characters a fault quotes of a name that is not known.
const MAX_QUOTED: usize = 64;

/// A name that is not known as a fault quotes it: the first 64 characters, of its first line. It may
/// be anything, such as a key put in the wrong place.
#[must_use]
pub fn shortened(name: &str) -> String {
    let line = name.split(char::is_control).next().unwrap_or_default();
    let mut short: String = line.chars().take(MAX_QUOTED).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}

/// The most faults reported of one resource.
const MAX_FAULTS: usize = 100;

/// Collects the faults of one resource while it is read, up to a number nobody reads.
#[derive(Debug)]
pub(crate) struct Checker {
    resource: String,
    errors: Vec<FieldError>,
}

impl Checker {
    pub(crate) fn new(resource: String) -> Self {
        Self {
            resource,
            errors: Vec::new(),
        }
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.errors.len() < MAX_FAULTS {
            self.errors
                .push(FieldError::new(&self.resource, field, message));
        }
    }

    /// The value, or a noted fault.
    pub(crate) fn take<T, E: ToString>(
        &mut self,
        field: impl FnOnce() -> String,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(field(), error.to_string());
                None
            }
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn finish(self) -> Vec<FieldError> {
        self.errors
    }
}
