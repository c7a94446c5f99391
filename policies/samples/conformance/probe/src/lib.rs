//! Does what its configuration says at every stage, and reports what it sees.
//!
//! A stage has a list of actions, done in order:
//! ```json
//! { "pre_route": [ { "report": { "to": "header" } }, { "set_header": { "name": "x-a", "value": "1" } } ],
//!   "response_body": [ { "write": { "text": "<" } }, { "upper": {} }, { "write": { "text": ">" } } ] }
//! ```
//! What an action gives (`"ok"`, `"forbidden"`, a value read) is in the next report, in `results`.

use fleetway_policy::prelude::*;
use serde::Deserialize;

mod act;
mod action;
mod bodies;
mod report;

use act::{Acting, End, Place};
use action::{Action, BodyAction};

/// What to do at each stage.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Before a route is chosen.
    pub pre_route: Vec<Action>,
    /// Before the request is sent.
    pub pre_upstream: Vec<Action>,
    /// Once there is a response.
    pub post_response: Vec<Action>,
    /// While the request's body passes.
    pub request_body: Vec<BodyAction>,
    /// While the response's body passes.
    pub response_body: Vec<BodyAction>,
    /// What a configuration is refused with, for tests of `validate`.
    pub refuse: Option<String>,
}

/// The policy.
pub struct Probe {
    config: Config,
    /// How many stages this instance has seen.
    calls: u32,
}

impl Policy for Probe {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        match config.refuse {
            Some(message) => Err(vec![fault("/refuse", message)]),
            None => Ok(Self { config, calls: 0 }),
        }
    }
}

impl Probe {
    /// A stage of this instance, with what it is given.
    fn at<'a>(&mut self, place: Place<'a>) -> Acting<'a> {
        self.calls += 1;
        Acting::new(place, self.calls)
    }
}

impl PreRoute for Probe {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        decision(
            self.at(Place::PreRoute { request })
                .run(&self.config.pre_route)?,
        )
    }
}

impl PreUpstream for Probe {
    fn pre_upstream(
        &mut self,
        request: &Request,
        upstream: &Upstream,
        body: Option<Buffer>,
    ) -> Result<Decision, Error> {
        let place = Place::PreUpstream {
            request,
            upstream,
            body,
        };
        decision(self.at(place).run(&self.config.pre_upstream)?)
    }
}

impl PostResponse for Probe {
    fn post_response(
        &mut self,
        request: &Request,
        response: &Response,
        exchange: &Exchange,
        body: Option<Buffer>,
    ) -> Result<Outcome, Error> {
        let place = Place::PostResponse {
            request,
            response,
            exchange,
            body,
        };
        match self.at(place).run(&self.config.post_response)? {
            None => Ok(Outcome::Continue),
            Some(End::Respond(response)) => Ok(response.into()),
            Some(End::Reroute(_)) => Err(Error::new("a response cannot be routed")),
        }
    }
}

impl RequestBody for Probe {
    fn request_body(&mut self, body: BodyReader, out: BodyWriter) -> Result<(), Error> {
        self.calls += 1;
        bodies::transform(&self.config.request_body, self.calls, body, out)
    }
}

impl ResponseBody for Probe {
    fn response_body(&mut self, body: BodyReader, out: BodyWriter) -> Result<(), Error> {
        self.calls += 1;
        bodies::transform(&self.config.response_body, self.calls, body, out)
    }
}

fn decision(end: Option<End>) -> Result<Decision, Error> {
    Ok(match end {
        None => Decision::Continue,
        Some(End::Respond(response)) => response.into(),
        Some(End::Reroute(hint)) => hint.into(),
    })
}

fleetway_policy::export!(
    Probe: pre_route, pre_upstream, post_response, request_body, response_body
);

#[cfg(test)]
mod tests;
