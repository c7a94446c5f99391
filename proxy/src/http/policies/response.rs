//! The stage after the upstream.

use std::{
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use fleetway_api::{BodyAccess, OnFailure};
use fleetway_policy_runtime::{Buffered, Outcome, Stage};
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::{
    Passage, answer,
    body::{Fault, Gathered, Held, Through},
    failed, nothing, set_length,
};
use crate::{
    http::{
        Failure, Record, ResponseBody,
        body::{BodyError, ToClient},
        local::View,
    },
    policy::Rule,
    snapshot::BoundRoute,
    upstream::UpstreamError,
};

/// A response's body under policies.
#[derive(Debug)]
pub struct Policed {
    source: Source,
    record: Option<Record>,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    /// It was read, or a part of it, and there may be more behind.
    Read(Held, Option<ResponseBody>),
    /// It passes through a policy.
    Through(Through, ResponseBody),
}

impl Policed {
    fn of(source: Source) -> ResponseBody {
        ResponseBody::Policed(Box::new(Self {
            source,
            record: None,
            ended: false,
        }))
    }

    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(match &mut self.source {
            Source::Read(held, rest) => match (held.next(), rest) {
                (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
                (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
                (None, None) => Poll::Ready(None),
            },
            Source::Through(through, source) => through.poll_frame(Pin::new(source), cx),
        });
        let trailers = match &frame {
            Some(Ok(frame)) => frame.trailers_ref(),
            _ => None,
        };
        self.ended |= frame.is_none() || trailers.is_some();
        if let Some(record) = &mut self.record {
            match (&frame, trailers) {
                (_, Some(fields)) => record.fields(fields),
                (Some(Ok(frame)), None) => record.sent(frame.data_ref().map_or(0, Bytes::len)),
                (Some(Err(error)), None) => record.cut(error.cause()),
                (None, None) => {}
            }
        }
        Poll::Ready(frame)
    }

    pub(in crate::http) fn is_end(&self) -> bool {
        match &self.source {
            Source::Read(held, None) => held.is_end(),
            Source::Read(held, Some(rest)) => held.is_end() && rest.is_end_stream(),
            Source::Through(through, _) => through.is_end(),
        }
    }

    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Read(held, None) => held.size_hint(),
            _ => SizeHint::default(),
        }
    }

    /// What it is read from, which has clocks.
    pub(in crate::http) const fn source(&self) -> Option<&ResponseBody> {
        match &self.source {
            Source::Read(_, rest) => rest.as_ref(),
            Source::Through(_, source) => Some(source),
        }
    }

    pub(in crate::http) fn record(&mut self, record: Record) {
        self.record = Some(record);
    }
}

impl Drop for Policed {
    fn drop(&mut self) {
        let whole = self.ended || self.is_end();
        if let Some(record) = &mut self.record {
            record.end(tokio::time::Instant::now(), whole);
        }
    }
}

/// What is said of a body that did not come as a whole.
enum Short {
    /// It is larger than the policy takes: what has come of it.
    TooLarge(Buffered),
    Failure(Failure),
}

impl Passage {
    /// Has a response pass the policies of its route and of the listener. `is_head` tells that it
    /// has no body, whatever it says.
    ///
    /// # Errors
    /// When one fails, and the response is not to be sent.
    pub(in crate::http) async fn respond(
        &mut self,
        view: &Rc<View>,
        bound: Option<&BoundRoute>,
        response: Response<ResponseBody>,
        is_head: bool,
    ) -> Result<Response<ResponseBody>, Failure> {
        let own = bound.and_then(BoundRoute::policies).map(AsRef::as_ref);
        let of = [own, view.listener.policies.as_deref()];
        let mut response = response;
        for rule in super::rules(of, Stage::PostResponse) {
            if matches!(response.body(), ResponseBody::Tunnel(_)) {
                break;
            }
            response = self.respond_by(rule, response, is_head).await?;
        }
        Ok(response)
    }

    async fn respond_by(
        &mut self,
        rule: &Rule,
        response: Response<ResponseBody>,
        is_head: bool,
    ) -> Result<Response<ResponseBody>, Failure> {
        let (parts, mut body) = response.into_parts();
        let bodiless = is_head
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT
            );
        let mut held = None;
        if let BodyAccess::Buffered { max } = rule.body
            && !bodiless
        {
            match self.collect(&mut body, max).await {
                Ok(whole) => held = Some(whole),
                Err(Short::Failure(failure)) => return Err(failure),
                Err(Short::TooLarge(begun)) => {
                    let failure = fleetway_policy_runtime::Failure::Body;
                    rule.unit.shared.counts.broke(&failure);
                    failed(rule.parts(), Stage::PostResponse, &failure, self.about())?;
                    let read = Held::new(begun, ToClient::Nobody);
                    let body = Policed::of(Source::Read(read, Some(body)));
                    return Ok(Response::from_parts(parts, body));
                }
            }
        }
        let mut head = self.head.take().unwrap_or_else(nothing);
        let kept = (rule.on_failure == OnFailure::GoOn).then(|| (parts.clone(), held.clone()));
        let begun = self.begin(rule, Stage::PostResponse, &mut head).await;
        let Some(mut begun) = begun? else {
            self.head = Some(head);
            let (parts, held) = kept.unwrap_or((parts, held));
            return Ok(Response::from_parts(parts, put_back(body, held)));
        };
        let went = begun
            .call
            .post_response(Box::new(parts), &self.exchange, held)
            .await;
        let (after, held) = (begun.call.take_response(), begun.call.take_body());
        let settled = self.settle(&mut begun, &mut head, went, |outcome| {
            matches!(outcome, Outcome::Respond(_))
        });
        self.head = Some(head);
        let outcome = settled?;
        let (Some(outcome), Some(after)) = (outcome, after) else {
            let Some((parts, held)) = kept else {
                return Err(Failure::POLICY);
            };
            return Ok(Response::from_parts(parts, put_back(body, held)));
        };
        if let Outcome::Respond(made) = outcome {
            return Ok(answer(made));
        }
        let mut parts = *after;
        if let Some(held) = &held
            && held.replaced
        {
            let length = held.trailers.is_none().then_some(held.bytes.len());
            set_length(&mut parts.headers, length);
        }
        let mut body = put_back(body, held);
        if rule.body == BodyAccess::Streamed && begun.call.transforms(Stage::PostResponse) {
            // The length of what would be there is not known without it, either.
            set_length(&mut parts.headers, None);
            if !bodiless && !body.is_end_stream() {
                let transform = begun.call.into_transform(Stage::PostResponse);
                let through = Through::new(
                    transform,
                    rule,
                    Stage::PostResponse,
                    Fault::default(),
                    self.about(),
                );
                body = Policed::of(Source::Through(through, body));
            } else {
                rule.unit.shared.counts.succeeded();
            }
        }
        Ok(Response::from_parts(parts, body))
    }

    async fn collect(&self, body: &mut ResponseBody, max: u32) -> Result<Buffered, Short> {
        let mut gathered = Gathered::new(usize::try_from(max).unwrap_or(usize::MAX));
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
        {
            let frame = frame.map_err(|error| Short::Failure(self.broken(error)))?;
            if !gathered.add(frame) {
                return Err(Short::TooLarge(gathered.end()));
            }
        }
        Ok(gathered.end())
    }

    /// The upstream broke off before its response could be looked at.
    fn broken(&self, error: BodyError) -> Failure {
        match error {
            BodyError::Timeout(expired) => Failure::Timeout(expired),
            BodyError::Policy => Failure::POLICY,
            error => {
                let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                let endpoint = self.exchange.endpoint.unwrap_or(nowhere);
                Failure::Upstream(UpstreamError::Broken(endpoint, error.to_string()))
            }
        }
    }
}

/// The body as it was read, or as it was.
fn put_back(body: ResponseBody, held: Option<Buffered>) -> ResponseBody {
    match held {
        None => body,
        Some(held) if held.trailers.is_none() => ResponseBody::full(held.bytes),
        Some(held) => Policed::of(Source::Read(Held::new(held, ToClient::Nobody), None)),
    }
}
