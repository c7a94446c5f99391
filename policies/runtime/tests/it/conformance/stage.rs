//! One stage of a probe: what it is given, and what becomes of it.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use fleetway_policy_runtime::{
    Buffered, Call, Decision, Exchange, Failure, Feed, Outcome, Stage, Step, Subject, Transform,
    Unit, Upstream,
};
use http::{HeaderMap, Request, Response, request, response};
use serde_json::Value;

use crate::support::subject;

/// What there is for a stage; each takes what it has.
pub struct Given {
    pub subject: Box<Subject>,
    pub upstream: Upstream,
    pub response: response::Parts,
    pub exchange: Exchange,
    pub body: Option<Buffered>,
}

impl Given {
    /// A request, and a response without fields.
    pub fn of(request: request::Builder) -> Self {
        Self::that(subject(request))
    }

    /// A request that other policies may have seen.
    pub fn that(subject: Box<Subject>) -> Self {
        Self {
            subject,
            upstream: Upstream::default(),
            response: Response::new(()).into_parts().0,
            exchange: Exchange::default(),
            body: None,
        }
    }

    /// A `GET` of `/`.
    pub fn any() -> Self {
        Self::of(Request::get("/"))
    }

    /// With a body that has come as a whole, and may become `max` bytes long.
    pub fn buffered(mut self, bytes: &'static [u8], max: usize) -> Self {
        self.body = Some(Buffered {
            bytes: bytes.into(),
            max,
            ..Buffered::default()
        });
        self
    }
}

/// What has become of it.
pub struct Became {
    /// What was decided; an outcome as the decision it would be before the upstream.
    pub went: Result<Decision, Failure>,
    pub subject: Box<Subject>,
    pub upstream: Option<Box<Upstream>>,
    pub response: Option<Box<response::Parts>>,
    pub body: Option<Buffered>,
}

impl Became {
    /// The report that was given as the answer.
    pub fn report(&self) -> Value {
        match &self.went {
            Ok(Decision::Respond(answer)) => serde_json::from_slice(&answer.body).expect("JSON"),
            other => panic!("no report: {other:?}"),
        }
    }

    /// The fields the stage is about: the response's where there is one.
    pub fn fields(&self) -> &HeaderMap {
        match &self.response {
            Some(response) => &response.headers,
            None => &self.subject.request.headers,
        }
    }
}

async fn start(unit: &Arc<Unit>, subject: Box<Subject>) -> Call {
    let started = unit.start(subject).await;
    started.map_err(|(_, failure)| failure).expect("it starts")
}

async fn head(
    call: &mut Call,
    stage: Stage,
    upstream: Upstream,
    response: response::Parts,
    exchange: &Exchange,
    body: Option<Buffered>,
) -> Result<Decision, Failure> {
    match stage {
        Stage::PreRoute => call.pre_route().await,
        Stage::PreUpstream => call.pre_upstream(Box::new(upstream), body).await,
        Stage::PostResponse => {
            let outcome = call.post_response(Box::new(response), exchange, body);
            Ok(match outcome.await? {
                Outcome::Continue => Decision::Continue,
                Outcome::Respond(answer) => Decision::Respond(answer),
            })
        }
    }
}

/// Has a policy look at what is given, at one stage.
pub async fn run(unit: &Arc<Unit>, stage: Stage, given: Given) -> Became {
    let Given {
        subject,
        upstream,
        response,
        exchange,
        body,
    } = given;
    let mut call = start(unit, subject).await;
    let went = head(&mut call, stage, upstream, response, &exchange, body).await;
    Became {
        went,
        upstream: call.take_upstream(),
        response: call.take_response(),
        body: call.take_body(),
        subject: call.into_subject(),
    }
}

/// A body that has passed through a policy.
pub struct Passed {
    /// What the policy has written, write by write.
    pub writes: Vec<Bytes>,
    /// The trailers behind it, or how the policy failed.
    pub end: Result<Option<HeaderMap>, Failure>,
    /// What was left of the body when the policy ended.
    pub unread: usize,
}

impl Passed {
    /// All that was written, as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.writes.concat()).expect("text")
    }
}

/// Has a stage look at the head, and gives what the body passes through.
pub async fn transform(unit: &Arc<Unit>, stage: Stage, given: Given) -> Transform {
    let (upstream, response) = (given.upstream, given.response);
    let mut call = start(unit, given.subject).await;
    let went = head(&mut call, stage, upstream, response, &given.exchange, None).await;
    assert_eq!(went, Ok(Decision::Continue));
    assert!(call.transforms(stage));
    call.into_transform(stage)
}

/// What passing a body through comes to next.
pub async fn step(transform: &mut Transform) -> Result<Step, Failure> {
    poll_fn(|cx| transform.poll_step(cx)).await
}

/// Has a stage look at the head, and the body pass through in these chunks.
pub async fn pass(unit: &Arc<Unit>, stage: Stage, given: Given, chunks: Vec<Feed>) -> Passed {
    let mut transform = transform(unit, stage, given).await;
    let mut chunks = chunks.into_iter();
    let mut writes = Vec::new();
    let end = loop {
        match step(&mut transform).await {
            Ok(Step::Wants) => transform.feed(chunks.next().unwrap_or(Feed::End)),
            Ok(Step::Data(bytes)) => writes.push(bytes),
            Ok(Step::End(trailers)) => break Ok(trailers),
            Err(failure) => break Err(failure),
        }
    };
    Passed {
        writes,
        end,
        unread: chunks.len(),
    }
}
