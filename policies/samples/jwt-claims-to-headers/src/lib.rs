//! Verifies a JSON Web Token (RFC 7519) signed with HS256 and passes claims on as header fields.
//!
//! ```json
//! { "key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "issuer": "https://id.example.com",
//!   "audience": "shop", "claims": [ { "claim": "sub", "header": "x-user" },
//!                                   { "claim": "/realm/roles", "header": "x-roles" } ] }
//! ```
//! The key is in base64, 32 bytes or more. A claim is a name, or a JSON Pointer where it begins with
//! `/`; lists are joined with commas. The fields are taken away from what clients send, whether the
//! token has the claim or not. `optional: true` lets requests without a token pass. Stage: `PRE_ROUTE`.

use base64::prelude::{BASE64_STANDARD, Engine};
use fleetway_policy::clock;
use fleetway_policy::prelude::*;
use serde::Deserialize;
use serde_json::Value;

mod token;

use token::Expected;

/// What a token has to be, and what of it is passed on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    key: String,
    issuer: Option<String>,
    audience: Option<String>,
    /// How far clocks may differ, in seconds.
    #[serde(default)]
    leeway: u64,
    #[serde(default)]
    optional: bool,
    claims: Vec<Claim>,
}

/// A claim and the field it goes into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    claim: String,
    header: String,
}

/// The policy.
pub struct JwtClaims {
    expected: Expected,
    optional: bool,
    claims: Vec<Claim>,
}

impl Policy for JwtClaims {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        let Ok(key) = BASE64_STANDARD.decode(&config.key) else {
            return Err(vec![fault("/key", "write it in base64")]);
        };
        // RFC 7518 section 3.2.
        if key.len() < 32 {
            return Err(vec![fault("/key", "use at least 32 bytes")]);
        }
        let unnamed = config
            .claims
            .iter()
            .position(|claim| claim.header.is_empty());
        if let Some(i) = unnamed {
            return Err(vec![fault(
                format!("/claims/{i}/header"),
                "name a header field",
            )]);
        }
        let Config {
            issuer,
            audience,
            leeway,
            optional,
            claims,
            ..
        } = config;
        Ok(Self {
            expected: Expected {
                key,
                issuer,
                audience,
                leeway,
            },
            optional,
            claims,
        })
    }
}

impl PreRoute for JwtClaims {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        let headers = request.headers();
        for claim in &self.claims {
            headers.remove(&claim.header)?;
        }
        let fields = headers.get_all_str("authorization");
        let token = match fields.as_slice() {
            [] if self.optional => return Ok(Decision::Continue),
            [one] => bearer(one),
            _ => None,
        };
        let Some(token) = token else {
            return Ok(respond(401, "a token is needed\n")
                .header("www-authenticate", "Bearer")
                .into());
        };
        let claims = match self.expected.verify(token, clock::now().as_secs()) {
            Ok(claims) => claims,
            Err(why) => {
                log::info!("token refused: {why}");
                let challenge =
                    format!("Bearer error=\"invalid_token\", error_description=\"{why}\"");
                return Ok(respond(401, format!("{why}\n"))
                    .header("www-authenticate", challenge)
                    .into());
            }
        };
        for Claim { claim, header } in &self.claims {
            let value = if claim.starts_with('/') {
                claims.pointer(claim)
            } else {
                claims.get(claim)
            };
            if let Some(text) = value.and_then(text) {
                headers.set(header, text)?;
            }
        }
        Ok(Decision::Continue)
    }
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A claim as text; none for one that is null or an object.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(values) => values
            .iter()
            .map(text)
            .collect::<Option<Vec<_>>>()
            .map(|texts| texts.join(",")),
        Value::Null | Value::Object(_) => None,
    }
}

fleetway_policy::export!(JwtClaims: pre_route);

#[cfg(test)]
mod tests;
