//! What is known of a stage once it is over.

use std::time::Duration;

use fleetway_policy_runtime::{
    Annotation, Answer, Decision, Failure, Hint, Outcome, Retries, Stage,
};
use serde_json::Value;

use super::log::Line;

/// What a policy made of a request or a response.
#[derive(Debug)]
pub(super) enum Went {
    Continue,
    Reroute(Hint),
    Respond(Answer),
    Failed(Failure),
    /// An earlier stage has answered.
    Skipped,
}

/// A stage that is over.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) stage: Stage,
    pub(super) went: Went,
    /// The request or the response, before and after, as text.
    pub(super) before: String,
    pub(super) after: String,
    /// It as it is now.
    pub(super) message: Value,
    /// What it wants of the upstream: the authority it is to see, the time it has.
    pub(super) authority: Option<String>,
    pub(super) timeout: Option<Duration>,
    /// How often and for what it is to be sent again.
    pub(super) retries: Option<Retries>,
    pub(super) log: Vec<Line>,
    /// Notes it made or changed; `None` for those it took away.
    pub(super) notes: Vec<(String, Option<Vec<u8>>)>,
    /// Fields of the access log it set.
    pub(super) annotations: Vec<Annotation>,
    /// How long it took to make the instance, to run the stage and to pass the body.
    pub(super) start: Duration,
    pub(super) run: Duration,
    pub(super) body: Option<Duration>,
    /// The memory of its instance in bytes.
    pub(super) memory: Option<usize>,
    /// What is to be said besides.
    pub(super) remark: Option<&'static str>,
}

impl Passed {
    pub(super) fn new(stage: Stage, went: Went) -> Self {
        Self {
            stage,
            went,
            before: String::new(),
            after: String::new(),
            message: Value::Null,
            authority: None,
            timeout: None,
            retries: None,
            log: Vec::new(),
            notes: Vec::new(),
            annotations: Vec::new(),
            start: Duration::ZERO,
            run: Duration::ZERO,
            body: None,
            memory: None,
            remark: None,
        }
    }

    /// Where and why the policy failed, if it did.
    pub(super) const fn failure(&self) -> Option<(Stage, &Failure)> {
        match &self.went {
            Went::Failed(failure) => Some((self.stage, failure)),
            _ => None,
        }
    }
}

impl From<Decision> for Went {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Continue => Self::Continue,
            Decision::Reroute(hint) => Self::Reroute(hint),
            Decision::Respond(answer) => Self::Respond(answer),
        }
    }
}

impl From<Outcome> for Went {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Continue => Self::Continue,
            Outcome::Respond(answer) => Self::Respond(answer),
        }
    }
}
