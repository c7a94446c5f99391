//! What can go wrong with a policy.

use std::fmt;

use wasmtime::Trap;

use crate::host::log::printable;

/// Why a component is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is no valid component.
    #[error("this is no component: {0}")]
    Invalid(String),
    /// It asks for more than there is.
    #[error(
        "it imports what this version does not offer: {0}; policies of fleetway:policy@{version} are taken",
        version = crate::ABI_VERSION
    )]
    Imports(String),
    /// It does nothing a policy does.
    #[error(
        "it exports no stage: a policy exports fleetway:policy/pre-route, pre-upstream or post-response @{version}",
        version = crate::ABI_VERSION
    )]
    NoStage,
    /// An export is not what the ABI says.
    #[error("its export {0} is not of the type the ABI gives it: {1}")]
    Export(&'static str, String),
    /// What it says of its configuration cannot be used.
    #[error("its schema, in the section fleetway:config-schema, {0}")]
    Schema(String),
    /// It could not be instantiated.
    #[error("it cannot be instantiated: {0}")]
    Start(String),
}

/// Something wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as a JSON Pointer (RFC 6901).
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Why a call did not come to its end. Its instance is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It ran for longer than it may.
    #[error("it ran for longer than its time-out")]
    Timeout,
    /// It used up its fuel.
    #[error("it used up its fuel")]
    Fuel,
    /// It wanted more memory than it may have.
    #[error("it wanted more memory than it may have")]
    Memory,
    /// It did what the ABI forbids.
    #[error("{0}")]
    Misuse(String),
    /// It trapped.
    #[error("it trapped: {0}")]
    Trap(String),
    /// There was no room for another call.
    #[error("too many calls of policies at once")]
    Busy,
    /// A body is larger than it takes.
    #[error("the body is larger than its max_body")]
    Body,
    /// It gave an answer that is none.
    #[error("its answer is none: {0}")]
    Answer(String),
}

impl Failure {
    /// Each cause, as [`Failure::cause`] tells it.
    pub const CAUSES: [&'static str; 8] = [
        "timeout", "fuel", "memory", "misuse", "trap", "busy", "answer", "body",
    ];

    /// Its place in [`Failure::CAUSES`].
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Timeout => 0,
            Self::Fuel => 1,
            Self::Memory => 2,
            Self::Misuse(_) => 3,
            Self::Trap(_) => 4,
            Self::Busy => 5,
            Self::Answer(_) => 6,
            Self::Body => 7,
        }
    }

    /// In one word, for metrics and logs.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        Self::CAUSES.get(self.index()).copied().unwrap_or_default()
    }

    /// Of what ended a call.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if let Some(own) = error.downcast_ref::<Self>() {
            return own.clone();
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Timeout,
            Some(Trap::OutOfFuel) => Self::Fuel,
            Some(trap) => Self::Trap(trap.to_string()),
            None => Self::Trap(root(error)),
        }
    }
}

/// The innermost cause, on one line.
pub(crate) fn root(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string().replace('\n', "; ");
    printable(&text).into_owned()
}
