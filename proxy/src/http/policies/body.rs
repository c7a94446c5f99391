//! Bodies under policies: read as a whole, or passed through as they come.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use fleetway_api::OnFailure;
use fleetway_policy_runtime::{
    Buffered, Facts, Failure as PolicyFailure, Feed, Notebook, Stage, Step, Transform,
};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{About, failed};
use crate::{
    http::{
        Downstream, Failure,
        body::{BodyError, ToClient},
        watchdog::Activity,
    },
    policy::Rule,
};

/// Where a policy that fails while a body passes leaves what is to be answered.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Fault(Rc<RefCell<Option<Failure>>>);

impl Fault {
    /// What was left there.
    pub(in crate::http) fn take(&self) -> Option<Failure> {
        self.0.borrow_mut().take()
    }

    fn leave(&self, failure: Failure) {
        *self.0.borrow_mut() = Some(failure);
    }
}

/// A body that has been read as a whole.
#[derive(Debug, Clone)]
pub struct Held {
    bytes: Option<Bytes>,
    trailers: Option<HeaderMap>,
    interim: ToClient,
}

impl Held {
    pub(in crate::http) fn new(held: Buffered, interim: ToClient) -> Self {
        Self {
            bytes: (!held.bytes.is_empty()).then_some(held.bytes),
            trailers: held.trailers,
            interim,
        }
    }

    /// Where interim responses go.
    pub(in crate::http) fn interim(&self) -> ToClient {
        self.interim.clone()
    }

    pub(in crate::http) fn next(&mut self) -> Option<Frame<Bytes>> {
        let bytes = self.bytes.take().map(Frame::data);
        bytes.or_else(|| self.trailers.take().map(Frame::trailers))
    }

    pub(in crate::http) const fn is_end(&self) -> bool {
        self.bytes.is_none() && self.trailers.is_none()
    }

    /// Where trailers follow, a length would have no place for them.
    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        match &self.trailers {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// Puts a body that was read in place of what it was read from.
pub(super) fn hold(body: &mut Downstream, held: Option<Buffered>) {
    if let Some(held) = held {
        let interim = body.interim();
        *body = Downstream::Held(Box::new(Held::new(held, interim)));
    }
}

/// Reads all of a request's body.
pub(super) async fn collect(
    body: &mut Downstream,
    max: u32,
    activity: &Activity,
) -> Result<Buffered, Failure> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut gathered = Gathered::new(max);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Failure::BadRequest("the request body is malformed"))?;
        activity.touch();
        if !gathered.add(frame) {
            return Err(Failure::BodyTooLarge);
        }
    }
    Ok(gathered.end())
}

/// What has been read of a body.
pub(super) struct Gathered {
    first: Bytes,
    rest: BytesMut,
    trailers: Option<HeaderMap>,
    max: usize,
}

impl Gathered {
    pub(super) fn new(max: usize) -> Self {
        Self {
            first: Bytes::new(),
            rest: BytesMut::new(),
            trailers: None,
            max,
        }
    }

    /// Whether it is still within the bound. What is beyond it is kept all the same.
    pub(super) fn add(&mut self, frame: Frame<Bytes>) -> bool {
        match frame.into_data() {
            // Most bodies come in one piece, and stay it.
            Ok(data) if self.first.is_empty() => self.first = data,
            Ok(data) => {
                if self.rest.is_empty() {
                    self.rest.extend_from_slice(&self.first);
                }
                self.rest.extend_from_slice(&data);
            }
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
        self.first.len().max(self.rest.len()) <= self.max
    }

    pub(super) fn end(self) -> Buffered {
        Buffered {
            bytes: match self.rest.is_empty() {
                true => self.first,
                false => self.rest.freeze(),
            },
            trailers: self.trailers,
            replaced: false,
            max: self.max,
        }
    }
}

/// A body that passes through a policy.
pub struct Through {
    transform: Transform,
    rule: Watched,
    stage: Stage,
    fault: Fault,
    ended: bool,
    /// Since when it has had the worker for itself, as far as it knows.
    turn: Option<Instant>,
    /// Where others have theirs.
    yielding: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// How long a body passes before others have their turn.
const TURN: Duration = Duration::from_millis(1);

/// What is to be known of the policy if it fails.
#[derive(Debug)]
struct Watched {
    unit: Arc<fleetway_policy_runtime::Unit>,
    on_failure: OnFailure,
    facts: Arc<Facts>,
    notebook: Notebook,
}

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through")
            .field("rule", &self.rule)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Through {
    pub(super) fn new(
        transform: Transform,
        rule: &Rule,
        stage: Stage,
        fault: Fault,
        (facts, notebook): About<'_>,
    ) -> Self {
        Self {
            transform,
            rule: Watched {
                unit: rule.unit.clone(),
                on_failure: rule.on_failure.clone(),
                facts: facts.clone(),
                notebook: notebook.clone(),
            },
            stage,
            fault,
            ended: false,
            turn: None,
            yielding: None,
        }
    }

    /// Others have their turn where this has had its own: what is written may be taken at once, and
    /// then nothing else would wait.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(yielding) = &mut self.yielding {
            ready!(yielding.as_mut().poll(cx));
            self.yielding = None;
            self.turn = None;
        }
        let began = *self.turn.get_or_insert_with(Instant::now);
        if began.elapsed() < TURN {
            return Poll::Ready(());
        }
        let mut yielding = Box::pin(tokio::task::yield_now());
        let polled = yielding.as_mut().poll(cx);
        self.yielding = Some(yielding);
        polled
    }

    /// The next frame the policy gives, which reads from `source`.
    pub(in crate::http) fn poll_frame<B>(
        &mut self,
        mut source: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>
    where
        B: Body<Data = Bytes, Error = BodyError>,
    {
        if self.ended {
            return Poll::Ready(None);
        }
        ready!(self.poll_turn(cx));
        loop {
            match ready!(self.transform.poll_step(cx)) {
                Ok(Step::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(Step::End(trailers)) => {
                    self.ended = true;
                    self.rule.unit.shared.counts.succeeded();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Err(failure) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(self.failed(&failure))));
                }
                Ok(Step::Wants) => match ready!(source.as_mut().poll_frame(cx)) {
                    None => self.transform.feed(Feed::End),
                    Some(Ok(frame)) => self.transform.feed(match frame.into_data() {
                        Ok(data) => Feed::Data(data),
                        Err(frame) => match frame.into_trailers() {
                            Ok(trailers) => Feed::Trailers(trailers),
                            Err(_) => continue,
                        },
                    }),
                    Some(Err(error)) => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            }
        }
    }

    pub(in crate::http) const fn is_end(&self) -> bool {
        self.ended
    }

    /// Half a body cannot be taken back: it is cut short even where requests go on without.
    fn failed(&self, failure: &PolicyFailure) -> BodyError {
        let rule = &self.rule;
        rule.unit.shared.counts.broke(failure);
        let left = failed(
            (&rule.unit, &rule.on_failure),
            self.stage,
            failure,
            (&rule.facts, &rule.notebook),
        );
        self.fault.leave(left.err().unwrap_or(Failure::POLICY));
        BodyError::Policy
    }
}

/// A request's body that passes through a policy.
#[derive(Debug)]
pub struct Transformed {
    pub(in crate::http) source: Downstream,
    pub(in crate::http) through: Through,
}

/// Has a request's body pass through a policy.
pub(super) fn transform(
    body: &mut Downstream,
    transform: Transform,
    rule: &Rule,
    fault: &Fault,
    about: About<'_>,
) {
    let nothing = Downstream::Held(Box::new(Held::new(Buffered::default(), ToClient::Nobody)));
    let source = std::mem::replace(body, nothing);
    let through = Through::new(transform, rule, Stage::PreUpstream, fault.clone(), about);
    *body = Downstream::Transformed(Box::new(Transformed { source, through }));
}
