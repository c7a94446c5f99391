//! A request's way through the stages of one policy, as a proxy has it.

use std::{future::poll_fn, mem, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use fleetway_api::BodyAccess;
use fleetway_policy_runtime::{
    Buffered, Call, Exchange, Failure, Feed, Hint, Notebook, Stage, Step, Subject, Transform, Unit,
    Upstream,
};
use http::{Method, header, response, uri::PathAndQuery};

use super::{
    log::Lines,
    max_body,
    message::{self, Message},
    passed::{Passed, Went},
};
use crate::args::Place;

/// The most of a body that is kept of what a policy writes.
const WRITTEN_MAX: usize = 64 << 20;

/// What passes the stages, besides the request's head.
pub(super) struct Run<'a> {
    pub(super) unit: Arc<Unit>,
    pub(super) body: BodyAccess,
    /// The bytes of a piece of a body that is streamed.
    pub(super) piece: usize,
    pub(super) place: &'a Place,
    pub(super) lines: Lines,
    pub(super) request_body: Bytes,
    pub(super) response: Message<response::Parts>,
    /// Where it is to go.
    pub(super) hint: Hint,
}

impl Run<'_> {
    /// Runs the stages, up to one that fails. An answer is a response: it passes the stage for those
    /// and no other.
    pub(super) async fn all(&mut self, stages: &[Stage], mut subject: Box<Subject>) -> Vec<Passed> {
        let mut all = Vec::with_capacity(stages.len());
        let mut answered = false;
        for &stage in stages {
            if answered && stage != Stage::PostResponse {
                all.push(Passed::new(stage, Went::Skipped));
                continue;
            }
            let (passed, after) = self.one(stage, subject).await;
            subject = after;
            match &passed.went {
                Went::Respond(answer) => {
                    answered = true;
                    self.response = message::of_answer(answer);
                }
                Went::Reroute(hint) => self.hint.overlay(hint.clone()),
                Went::Continue | Went::Failed(_) | Went::Skipped => {}
            }
            let failed = passed.failure().is_some();
            all.push(passed);
            if failed {
                break;
            }
        }
        all
    }

    async fn one(&mut self, stage: Stage, subject: Box<Subject>) -> (Passed, Box<Subject>) {
        let mut passed = Passed::new(stage, Went::Continue);
        passed.before = self.text(stage, &subject);
        let notebook = subject.notebook.clone();
        let known = (notes(&notebook), notebook.annotations());
        let subject = self.call(stage, subject, &mut passed).await;
        if matches!(passed.went, Went::Failed(_)) {
            // What a policy that failed has changed is not used.
            passed.after.clone_from(&passed.before);
        } else {
            passed.after = self.text(stage, &subject);
        }
        passed.message = match stage {
            Stage::PostResponse => message::response_json(&self.response.head, &self.response.body),
            _ => message::request_json(&subject.request, &self.request_body),
        };
        passed.log = self.lines.take();
        passed.notes = changed(known.0, notes(&notebook));
        let annotations = notebook.annotations().into_iter();
        passed.annotations = annotations
            .filter(|annotation| !known.1.contains(annotation))
            .collect();
        (passed, subject)
    }

    /// Calls the policy; gives the request's head as it leaves it.
    async fn call(
        &mut self,
        stage: Stage,
        subject: Box<Subject>,
        passed: &mut Passed,
    ) -> Box<Subject> {
        let held = self.held(stage, &subject.request.method);
        if held
            .as_ref()
            .is_some_and(|held| held.bytes.len() > held.max)
        {
            passed.went = Went::Failed(Failure::Body);
            return subject;
        }
        let upstream = self.upstream(&subject);
        let began = Instant::now();
        let mut call = match self.unit.start(subject).await {
            Ok(call) => call,
            Err((subject, failure)) => {
                passed.went = Went::Failed(failure);
                return subject;
            }
        };
        passed.start = began.elapsed();
        let began = Instant::now();
        let went = match stage {
            Stage::PreRoute => call.pre_route().await.map(Went::from),
            Stage::PreUpstream => call.pre_upstream(upstream, held).await.map(Went::from),
            Stage::PostResponse => {
                let head = Box::new(self.response.head.clone());
                let exchange = self.exchange();
                let went = call.post_response(head, &exchange, held).await;
                went.map(Went::from)
            }
        };
        passed.run = began.elapsed();
        passed.memory = Some(call.memory());
        match went {
            Ok(went) => passed.went = went,
            Err(failure) => {
                passed.went = Went::Failed(failure);
                return call.into_subject();
            }
        }
        self.take(stage, &mut call, passed);
        self.stream(stage, call, passed).await
    }

    /// Takes over what the policy has changed.
    fn take(&mut self, stage: Stage, call: &mut Call, passed: &mut Passed) {
        if let Some(to) = call.take_upstream() {
            let authority = to.set_authority.as_ref();
            passed.authority =
                authority.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            passed.timeout = to.set_timeout;
            passed.retries = to.set_retries;
        }
        if let Some(head) = call.take_response() {
            self.response.head = *head;
        }
        let body = call.take_body().filter(|body| body.replaced);
        if let Some(body) = body
            && !matches!(passed.went, Went::Respond(_))
        {
            let length = Some(body.bytes.len());
            match stage {
                Stage::PostResponse => {
                    message::set_length(&mut self.response.head.headers, length);
                    self.response.body = body.bytes;
                }
                _ => {
                    message::set_length(&mut call.subject().request.headers, length);
                    self.request_body = body.bytes;
                }
            }
        }
    }

    /// Has the body pass the policy, where it does.
    async fn stream(&mut self, stage: Stage, mut call: Call, passed: &mut Passed) -> Box<Subject> {
        if stage == Stage::PreRoute || matches!(passed.went, Went::Respond(_)) {
            return call.into_subject();
        }
        if self.body != BodyAccess::Streamed {
            if call.transforms(stage) {
                passed.remark = Some(
                    "the component passes bodies as they come, and was not given this one: --stream has it",
                );
            }
            return call.into_subject();
        }
        if !call.transforms(stage) {
            passed.remark =
                Some("the body passes it by: the component does not export a stage for it");
            return call.into_subject();
        }
        let body = match stage {
            Stage::PostResponse => self.response.body.clone(),
            _ => self.request_body.clone(),
        };
        if body.is_empty() {
            return call.into_subject();
        }
        let rest = Box::new(Subject {
            request: http::Request::new(()).into_parts().0,
            facts: call.subject().facts.clone(),
            notebook: call.subject().notebook.clone(),
        });
        let mut subject = mem::replace(call.subject(), rest);
        let began = Instant::now();
        let mut transform = call.into_transform(stage);
        let written = pass(&mut transform, body, self.piece).await;
        passed.body = Some(began.elapsed());
        passed.memory = transform.memory().or(passed.memory);
        let body = match written {
            Ok(body) => body,
            Err(failure) => {
                passed.went = Went::Failed(failure);
                return subject;
            }
        };
        match stage {
            Stage::PostResponse => {
                message::set_length(&mut self.response.head.headers, None);
                self.response.body = body;
            }
            _ => {
                message::set_length(&mut subject.request.headers, None);
                self.request_body = body;
            }
        }
        subject
    }

    /// The body as a whole, where the policy gets it.
    fn held(&self, stage: Stage, method: &Method) -> Option<Buffered> {
        let bytes = match stage {
            Stage::PreRoute => return None,
            Stage::PreUpstream => &self.request_body,
            Stage::PostResponse => {
                if *method == Method::HEAD || message::has_no_body(self.response.head.status) {
                    return None;
                }
                &self.response.body
            }
        };
        Some(Buffered {
            bytes: bytes.clone(),
            trailers: None,
            replaced: false,
            max: max_body(self.body)?,
        })
    }

    fn route(&self) -> String {
        let hint = self.hint.route.as_ref();
        hint.unwrap_or(&self.place.route).clone()
    }

    fn cluster(&self) -> String {
        let hint = self.hint.cluster.as_ref();
        hint.unwrap_or(&self.place.cluster).clone()
    }

    fn upstream(&self, subject: &Subject) -> Box<Upstream> {
        let request = &subject.request;
        let host = request.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let authority = request.uri.authority().map(|authority| authority.as_str());
        let path = request
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        Box::new(Upstream {
            route: self.route(),
            cluster: self.cluster(),
            authority: authority.or(host).unwrap_or_default().to_owned(),
            path_with_query: path.to_owned(),
            ..Upstream::default()
        })
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            route: Some(self.route()),
            cluster: Some(self.cluster()),
            ..Exchange::default()
        }
    }

    fn text(&self, stage: Stage, subject: &Subject) -> String {
        match stage {
            Stage::PostResponse => message::response_text(&self.response.head, &self.response.body),
            _ => message::request_text(&subject.request, &self.request_body),
        }
    }
}

/// Has a body pass in pieces; gives all that was written.
async fn pass(transform: &mut Transform, mut body: Bytes, piece: usize) -> Result<Bytes, Failure> {
    let mut written = BytesMut::new();
    loop {
        match poll_fn(|cx| transform.poll_step(cx)).await? {
            Step::Wants if body.is_empty() => transform.feed(Feed::End),
            Step::Wants => {
                let next = body.split_to(piece.min(body.len()));
                transform.feed(Feed::Data(next));
            }
            Step::Data(bytes) if written.len() + bytes.len() > WRITTEN_MAX => {
                let text = "it wrote more than 64 MiB, which is all that is kept here";
                return Err(Failure::Misuse(text.into()));
            }
            Step::Data(bytes) => written.extend_from_slice(&bytes),
            Step::End(_) => return Ok(written.freeze()),
        }
    }
}

type Notes = Vec<(String, Vec<u8>)>;

fn notes(notebook: &Notebook) -> Notes {
    let notes = notebook.notes().into_iter();
    notes.map(|(_, key, value)| (key, value)).collect()
}

/// What became of notes: those that are new or other, and those that are gone.
fn changed(before: Notes, after: Notes) -> Vec<(String, Option<Vec<u8>>)> {
    let gone = before
        .iter()
        .filter(|(key, _)| !after.iter().any(|(kept, _)| kept == key))
        .map(|(key, _)| (key.clone(), None));
    let mut all: Vec<_> = gone.collect();
    let new = after.into_iter().filter(|note| !before.contains(note));
    all.extend(new.map(|(key, value)| (key, Some(value))));
    all
}
