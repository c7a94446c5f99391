//! What a policy is: a configuration and the stages it takes part in.

use std::io::Write;

use serde::de::DeserializeOwned;

use crate::{
    BodyReader, BodyWriter, Buffer, Decision, Error, Exchange, Fault, Outcome, Request, Response,
    Upstream,
};

/// A policy. There is one for each request, made from its configuration when its first stage runs.
pub trait Policy: Sized + 'static {
    /// What it takes as its configuration; [`NoConfig`](crate::NoConfig) for nothing.
    ///
    /// With `#[serde(deny_unknown_fields)]` a misspelt field is an error, as it should be.
    type Config: DeserializeOwned;

    /// Makes a policy, or says what is wrong with its configuration. The proxy's server asks this
    /// before a configuration comes into force.
    fn new(config: Self::Config) -> Result<Self, Vec<Fault>>;
}

/// A policy that looks at requests before a route is chosen.
///
/// An error, here as at the other stages, is logged and ends the call: the proxy then does what the
/// policy's failure mode says.
pub trait PreRoute: Policy {
    /// Says what becomes of a request.
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        let _ = request;
        Ok(Decision::Continue)
    }
}

/// A policy that looks at requests once route and cluster are chosen.
pub trait PreUpstream: Policy {
    /// Says what becomes of a request. The body is there in body mode `BUFFERED`.
    fn pre_upstream(
        &mut self,
        request: &Request,
        upstream: &Upstream,
        body: Option<Buffer>,
    ) -> Result<Decision, Error> {
        let _ = (request, upstream, body);
        Ok(Decision::Continue)
    }
}

/// A policy that looks at responses.
pub trait PostResponse: Policy {
    /// Says what becomes of a response. The body is there in body mode `BUFFERED`; the request is as
    /// it was sent and cannot be changed.
    fn post_response(
        &mut self,
        request: &Request,
        response: &Response,
        exchange: &Exchange,
        body: Option<Buffer>,
    ) -> Result<Outcome, Error> {
        let _ = (request, response, exchange, body);
        Ok(Outcome::Continue)
    }
}

/// A policy that changes the bodies of requests as they pass.
pub trait RequestBody: PreUpstream {
    /// Writes what is to be sent in place of what it reads. `self` is what `pre_upstream` has left.
    fn request_body(&mut self, body: BodyReader, out: BodyWriter) -> Result<(), Error> {
        copy(body, out)
    }
}

/// A policy that changes the bodies of responses as they pass.
pub trait ResponseBody: PostResponse {
    /// Writes what is to be sent in place of what it reads. `self` is what `post_response` has left.
    fn response_body(&mut self, body: BodyReader, out: BodyWriter) -> Result<(), Error> {
        copy(body, out)
    }
}

/// Sends a body on as it comes.
fn copy(mut body: BodyReader, mut out: BodyWriter) -> Result<(), Error> {
    while let Some(chunk) = body.chunk() {
        out.write_all(&chunk)?;
    }
    Ok(())
}
