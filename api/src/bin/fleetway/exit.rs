//! What an error means to the caller: the exit code, and the text that says what to do next.

use std::{fmt, io};

use fleetway_api::{
    FieldError,
    client::ClientError,
    rest::{Code, RevisionStatus},
};
use fleetway_policy_runtime::{Failure, Stage};

/// Wrong usage, or an error that is none of the others.
pub(crate) const OTHER: u8 = 1;
const INVALID: u8 = 2;
const CONFLICT: u8 = 3;
const NOT_FOUND: u8 = 4;
const UNAVAILABLE: u8 = 5;
const NOT_LIVE: u8 = 6;
const POLICY_FAILED: u8 = 7;

/// Files or resources are not valid.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Every fault, at least one.
    pub(crate) all: Vec<FieldError>,
    /// What to do besides mending them; may be empty.
    pub(crate) hint: &'static str,
}

impl From<Vec<FieldError>> for Faults {
    fn from(all: Vec<FieldError>) -> Self {
        Self { all, hint: "" }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all.as_slice() {
            [one] => write!(f, "{one}")?,
            all => {
                write!(f, "{} faults", all.len())?;
                for fault in all {
                    write!(f, "\n  {fault}")?;
                }
            }
        }
        if !self.hint.is_empty() {
            write!(f, "\n{}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A revision is committed, but not live where it was waited for.
#[derive(Debug)]
pub(crate) struct NotLive {
    /// Who has it and who has not.
    pub(crate) status: RevisionStatus,
    /// How long it was to be waited for.
    pub(crate) waited: std::time::Duration,
}

impl fmt::Display for NotLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        write!(f, "revision {} is stored, but ", status.revision)?;
        if status.refused {
            f.write_str("was refused: it is")?;
        } else {
            write!(f, "after {:?} it is", self.waited)?;
        }
        write!(
            f,
            " live on {} of {} connected nodes",
            status.nodes_live, status.nodes
        )?;
        for node in &status.waiting {
            let state = super::table::state(node.state);
            write!(f, "\n  {} ({}, {state}", node.id, node.fleet)?;
            if let Some(revision) = node.live_revision {
                write!(f, ", serves {revision}")?;
            }
            write!(f, "): {}", node.reason)?;
        }
        f.write_str("\n")?;
        if !status.refused {
            f.write_str("A node that is PENDING serves it as soon as it can. ")?;
        }
        f.write_str(
            "A node that refused it serves what it had until a later revision mends the reason. `fleetway status --watch` shows where each is",
        )
    }
}

impl std::error::Error for NotLive {}

/// A policy that was tried out failed.
#[derive(Debug, thiserror::Error)]
#[error("the policy failed at {stage}: {failure}")]
pub(crate) struct PolicyFailed {
    /// Where.
    pub(crate) stage: Stage,
    /// Why.
    pub(crate) failure: Failure,
}

/// The exit code for an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Faults>() {
            return INVALID;
        }
        if cause.is::<NotLive>() {
            return NOT_LIVE;
        }
        if cause.is::<PolicyFailed>() {
            return POLICY_FAILED;
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return of_call(error);
        }
    }
    OTHER
}

fn of_call(error: &ClientError) -> u8 {
    match error {
        ClientError::Problem(problem) => match problem.code {
            Code::Invalid => INVALID,
            Code::StillReferenced | Code::AlreadyExists | Code::StaleVersion => CONFLICT,
            Code::NotFound => NOT_FOUND,
            Code::StoreUnavailable | Code::ShuttingDown => UNAVAILABLE,
            Code::BadRequest
            | Code::NoSuchPath
            | Code::MethodNotAllowed
            | Code::CrossOrigin
            | Code::TooLarge
            | Code::UnsupportedMediaType
            | Code::IdempotencyKeyReused
            | Code::Internal => OTHER,
        },
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => UNAVAILABLE,
        ClientError::Address { .. }
        | ClientError::Author(_)
        | ClientError::Authorities
        | ClientError::Unexpected { .. } => OTHER,
    }
}

/// The error as it is printed, with what to do next.
pub(crate) fn text(error: &anyhow::Error, colour: bool) -> String {
    // The outer texts say what was tried, the inner ones why it failed.
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut text = causes.join(": ");
    let call = error.chain().find_map(|cause| cause.downcast_ref());
    if let Some(ClientError::Problem(problem)) = call {
        // The faults name the first few of them.
        if problem.errors.is_empty() || problem.referrers.len() > 5 {
            for referrer in &problem.referrers {
                text.push_str(&format!("\n  referred to by {referrer}"));
            }
        }
        if let Some(hint) = next_step(problem.code) {
            text.push_str(&format!("\n{hint}"));
        }
    }
    // What a server or a file says must not steer the terminal.
    text.retain(|c| !c.is_control() || c == '\n');
    if colour {
        format!("\x1b[1;31merror:\x1b[0m {text}\n")
    } else {
        format!("error: {text}\n")
    }
}

fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Invalid => {
            Some("Nothing was changed. Mend the resources and apply them again, all together")
        }
        Code::StillReferenced => Some(
            "Nothing was changed. Delete these too, in one command, or take the references out first",
        ),
        Code::StaleVersion => Some(
            "Nothing was changed. `fleetway get KIND NAME -o yaml` prints the newest version; a document without `meta.version` is written over whatever is there",
        ),
        Code::NotFound => Some(
            "`fleetway get all`, `fleetway get nodes` and `fleetway revisions` list what there is",
        ),
        Code::StoreUnavailable => Some(
            "No proxy was sent it. The server's log says more; look at the newest revisions before sending it again",
        ),
        Code::TooLarge => Some("Apply it in parts that are valid by themselves"),
        _ => None,
    }
}

/// Whether whoever reads the output went away, as `head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
