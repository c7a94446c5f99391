//! A request's way through the policies of its listener and its route.
//!
//! ```text
//! listener's PRE_ROUTE → match → route's PRE_ROUTE → match once more
//!   → listener's PRE_UPSTREAM → route's PRE_UPSTREAM → (routed anew, once) → upstream
//!   → route's POST_RESPONSE → listener's POST_RESPONSE → client
//! ```
//! No request reaches a route whose own policies it has not passed: those of a route it is moved to
//! run too, and have no say in where it goes any more.

mod body;
mod facts;
mod outbound;
mod request;
mod response;

use std::{mem, sync::Arc, time::Instant};

pub use body::{Held, Transformed};
use fleetway_api::{BodyAccess, OnFailure};
use fleetway_policy_runtime::{
    Answer, Call, Exchange, Facts, Failure as PolicyFailure, Hint, Notebook, Stage, Subject, Unit,
};
use http::{HeaderMap, Response, header, request::Parts};
pub use outbound::Outbound;
pub(super) use request::{Overrides, Way};
pub use response::Policed;

use super::{Failure, ResponseBody};
use crate::policy::{Attached, Rule};

/// What goes with a request from policy to policy.
#[derive(Debug)]
pub(super) struct Passage {
    facts: Arc<Facts>,
    notebook: Notebook,
    hint: Hint,
    /// The head as it was sent, for what looks at the response.
    head: Option<Parts>,
    exchange: Exchange,
}

/// What a failure is told with besides the policy.
type About<'a> = (&'a Arc<Facts>, &'a Notebook);

/// A call with the request before it, and what is to be done if it fails.
struct Begun<'r> {
    rule: &'r Rule,
    stage: Stage,
    call: Call,
    /// When its instance was asked for.
    began: Instant,
    /// The head as it was, where it goes on without the policy.
    kept: Option<Parts>,
}

impl Passage {
    fn new(facts: Facts) -> Self {
        Self {
            facts: Arc::new(facts),
            notebook: Notebook::default(),
            hint: Hint::default(),
            head: None,
            exchange: Exchange::default(),
        }
    }

    /// What policies write down of the request.
    pub(super) const fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    /// What failures are told with.
    fn about(&self) -> About<'_> {
        (&self.facts, &self.notebook)
    }

    /// Begins a call for this head, which is in the call until it has ended. `Ok(None)`: it goes on
    /// without.
    async fn begin<'r>(
        &mut self,
        rule: &'r Rule,
        stage: Stage,
        head: &mut Parts,
    ) -> Result<Option<Begun<'r>>, Failure> {
        let kept = goes_on(rule).then(|| head.clone());
        let subject = Box::new(Subject {
            request: mem::replace(head, nothing()),
            facts: self.facts.clone(),
            notebook: self.notebook.clone(),
        });
        let began = Instant::now();
        match rule.unit.start(subject).await {
            Ok(call) => Ok(Some(Begun {
                rule,
                stage,
                call,
                began,
                kept,
            })),
            Err((subject, failure)) => {
                *head = subject.request;
                let counts = &rule.unit.shared.counts;
                counts.failed(stage, &failure, began.elapsed());
                failed(rule.parts(), stage, &failure, self.about()).map(|()| None)
            }
        }
    }

    /// Takes back what the call had, and tells how it went. `Ok(None)`: it goes on without.
    fn settle<D>(
        &mut self,
        begun: &mut Begun<'_>,
        head: &mut Parts,
        went: Result<D, PolicyFailure>,
        answers: impl FnOnce(&D) -> bool,
    ) -> Result<Option<D>, Failure> {
        let subject = begun.call.subject();
        *head = mem::replace(&mut subject.request, nothing());
        let (counts, took) = (&begun.rule.unit.shared.counts, begun.began.elapsed());
        match went {
            Ok(decision) => {
                let answers = answers(&decision);
                counts.called(begun.stage, answers, took);
                // Where a body is to pass, it has yet to show whether it can.
                let streams =
                    begun.rule.body == BodyAccess::Streamed && begun.call.transforms(begun.stage);
                if answers || !streams {
                    counts.succeeded();
                }
                Ok(Some(decision))
            }
            Err(failure) => {
                counts.failed(begun.stage, &failure, took);
                failed(begun.rule.parts(), begun.stage, &failure, self.about())?;
                if let Some(kept) = begun.kept.take() {
                    *head = kept;
                }
                Ok(None)
            }
        }
    }
}

/// A head in place of one that is in a call.
fn nothing() -> Parts {
    http::Request::new(()).into_parts().0
}

fn goes_on(rule: &Rule) -> bool {
    rule.on_failure == OnFailure::GoOn
}

/// The policies of two places for a stage, in this order.
fn rules(of: [Option<&Attached>; 2], stage: Stage) -> impl Iterator<Item = &Rule> {
    let attached = of.into_iter().flatten();
    attached.flat_map(move |attached| attached.of(stage))
}

/// Tells of a failure that is counted, and says what becomes of the request.
fn failed(
    (unit, on_failure): (&Unit, &OnFailure),
    stage: Stage,
    failure: &PolicyFailure,
    (facts, notebook): About<'_>,
) -> Result<(), Failure> {
    if unit.shared.may_log(Instant::now()) {
        tracing::warn!(
            policy = %unit.name,
            %stage,
            route = notebook.route().as_deref(),
            request_id = facts.id,
            cause = failure.cause(),
            "the policy failed: {failure}"
        );
    }
    match on_failure {
        OnFailure::GoOn => Ok(()),
        OnFailure::Respond { status, body } => Err(Failure::Policy {
            status: *status,
            body: body.clone(),
        }),
    }
}

/// A policy's answer as the client gets it.
fn answer(answer: Answer) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// Has a message say how long its body is, or leaves that to its connection.
fn set_length(fields: &mut HeaderMap, length: Option<usize>) {
    match length {
        Some(length) => drop(fields.insert(header::CONTENT_LENGTH, length.into())),
        None => drop(fields.remove(header::CONTENT_LENGTH)),
    }
}
