//! Requests of the policy's own.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, uri::PathAndQuery,
};

use super::fields::is_forbidden;
use crate::{
    Failure, SendError as NotSent, Sending,
    abi::host::http_client::{Host, IncomingResponse, OutgoingRequest, SendError},
    outbound::{BODY_MAX, HOPS_MAX},
    state::State,
};

/// The most a call sends.
const SENT_MAX: u32 = 8;
/// The most fields of a request.
const FIELDS_MAX: usize = 100;

type Sent = Result<IncomingResponse, SendError>;

impl Host for State {
    async fn send(&mut self, outgoing: OutgoingRequest) -> wasmtime::Result<Sent> {
        let sending = match self.sending(outgoing) {
            Ok(sending) => sending,
            Err(error) => return Ok(Err(error)),
        };
        self.sent += 1;
        if self.sent > SENT_MAX {
            let misuse = format!("it sent more than {SENT_MAX} requests of its own");
            return Err(Failure::Misuse(misuse).into());
        }
        let Some(outbound) = &self.subject.facts.outbound else {
            return Ok(Err(SendError::Failed("nothing is sent from here".into())));
        };
        let sent = outbound.send(sending).await;
        self.waited();
        Ok(sent.map(incoming).map_err(|error| match error {
            NotSent::Timeout => SendError::Timeout,
            NotSent::Failed(why) => SendError::Failed(why),
            NotSent::TooLarge => SendError::TooLarge,
        }))
    }
}

impl State {
    /// The request a guest wants sent, if it may and if it is one.
    fn sending(&self, outgoing: OutgoingRequest) -> Result<Sending, SendError> {
        let grant = &self.unit.grant;
        let cluster = outgoing.cluster.as_str();
        if !grant.clusters.iter().any(|granted| **granted == *cluster) {
            return Err(SendError::Forbidden);
        }
        let timeout = outgoing.timeout.map_or(grant.timeout, |milliseconds| {
            grant
                .timeout
                .min(Duration::from_millis(milliseconds.into()))
        });
        let cluster = cluster.into();
        let facts = &self.subject.facts;
        let request = request(outgoing, &facts.id).map_err(SendError::Invalid)?;
        if facts.hops >= HOPS_MAX {
            let circle = "it goes in a circle: requests of policies have led to this one";
            return Err(SendError::Failed(circle.into()));
        }
        Ok(Sending {
            hops: facts.hops + 1,
            cluster,
            request,
            timeout,
            max_body: BODY_MAX,
        })
    }
}

/// The request, or what is wrong with it.
fn request(outgoing: OutgoingRequest, id: &str) -> Result<Request<Bytes>, String> {
    let method = Method::from_bytes(outgoing.method.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT)
        .ok_or("method: this is no method a policy can send")?;
    if outgoing.body.len() > BODY_MAX {
        return Err(format!("body: is longer than {BODY_MAX} bytes"));
    }
    if outgoing.headers.len() > FIELDS_MAX {
        return Err(format!("headers: has more than {FIELDS_MAX} fields"));
    }
    if !outgoing.path_with_query.starts_with('/') {
        return Err("path-with-query: has to begin with \"/\"".into());
    }
    let target = outgoing.path_with_query;
    if target.contains('#') || !target.is_ascii() {
        return Err("path-with-query: has a character that has to be percent-encoded".into());
    }
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target))
        .map_err(|_| "path-with-query: has a character that has to be percent-encoded")?;
    let mut headers = HeaderMap::with_capacity(outgoing.headers.len() + 2);
    for (name, value) in outgoing.headers {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("headers: {name:?} is no field name"))?;
        if is_forbidden(&field) {
            return Err(format!("headers: {name} is the proxy's own to set"));
        }
        let value = HeaderValue::from_maybe_shared(Bytes::from(value))
            .map_err(|_| format!("headers: the value of {name} is none"))?;
        headers.append(field, value);
    }
    let authority = outgoing.authority.unwrap_or(outgoing.cluster);
    let host = super::request::read_authority(authority)
        .ok()
        .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        .ok_or("authority: this is no host with or without a port")?;
    headers.insert(header::HOST, host);
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    let mut request = Request::new(Bytes::from(outgoing.body));
    *request.method_mut() = method;
    *request.uri_mut() = target.into();
    *request.headers_mut() = headers;
    Ok(request)
}

/// The response as guests have it.
fn incoming(response: Response<Bytes>) -> IncomingResponse {
    let (head, body) = response.into_parts();
    let fields = head.headers.iter();
    IncomingResponse {
        status: head.status.as_u16(),
        headers: fields
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: body.into(),
    }
}
