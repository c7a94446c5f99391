//! Misbehaves, in the way its configuration says, at the stage it says.
//!
//! ```json
//! { "pre_route": "infinite_loop", "response_body": "write_without_end" }
//! ```

use fleetway_policy::prelude::*;

use serde::Deserialize;

mod attack;

use attack::{Attack, BodyAttack};

/// What to do at each stage.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    validate: Option<Attack>,
    pre_route: Option<Attack>,
    pre_upstream: Option<Attack>,
    post_response: Option<Attack>,
    request_body: Option<BodyAttack>,
    response_body: Option<BodyAttack>,
}

/// The policy.
pub struct Hostile(Config);

impl Policy for Hostile {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        if let Some(attack) = config.validate {
            attack
                .run(&|| None)
                .map_err(|error| vec![fault("/validate", error.to_string())])?;
        }
        Ok(Self(config))
    }
}

impl PreRoute for Hostile {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        match self.0.pre_route {
            Some(Attack::GiantAnswer) => Ok(attack::giant_answer().into()),
            Some(Attack::ManyAnswerHeaders) => Ok(attack::many_headers_answer().into()),
            Some(attack) => {
                attack.run(&|| Some(request.headers()))?;
                Ok(Decision::Continue)
            }
            None => Ok(Decision::Continue),
        }
    }
}

impl PreUpstream for Hostile {
    fn pre_upstream(
        &mut self,
        request: &Request,
        _: &Upstream,
        _: Option<Buffer>,
    ) -> Result<Decision, Error> {
        match self.0.pre_upstream {
            Some(Attack::GiantAnswer) => Ok(attack::giant_answer().into()),
            Some(Attack::ManyAnswerHeaders) => Ok(attack::many_headers_answer().into()),
            Some(attack) => {
                attack.run(&|| Some(request.headers()))?;
                Ok(Decision::Continue)
            }
            None => Ok(Decision::Continue),
        }
    }
}

impl PostResponse for Hostile {
    fn post_response(
        &mut self,
        _: &Request,
        response: &Response,
        _: &Exchange,
        _: Option<Buffer>,
    ) -> Result<Outcome, Error> {
        match self.0.post_response {
            Some(Attack::GiantAnswer) => Ok(attack::giant_answer().into()),
            Some(Attack::ManyAnswerHeaders) => Ok(attack::many_headers_answer().into()),
            Some(attack) => {
                attack.run(&|| Some(response.headers()))?;
                Ok(Outcome::Continue)
            }
            None => Ok(Outcome::Continue),
        }
    }
}

impl RequestBody for Hostile {
    fn request_body(&mut self, body: BodyReader, out: BodyWriter) -> Result<(), Error> {
        attack::body(self.0.request_body, body, out)
    }
}

impl ResponseBody for Hostile {
    fn response_body(&mut self, body: BodyReader, out: BodyWriter) -> Result<(), Error> {
        attack::body(self.0.response_body, body, out)
    }
}

fleetway_policy::export!(
    Hostile: pre_route, pre_upstream, post_response, request_body, response_body
);
