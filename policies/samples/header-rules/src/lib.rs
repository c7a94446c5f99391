//! Adds, sets and removes header fields, of requests and of responses.
//!
//! ```json
//! { "request": [ { "set": { "name": "x-team", "value": "edge" } }, { "remove": { "name": "x-debug" } } ],
//!   "response": [ { "add": { "name": "vary", "value": "accept" } },
//!                 { "set_if_missing": { "name": "cache-control", "value": "no-store" } } ] }
//! ```
//! Rules are done in their order. Stages: `PRE_ROUTE` for `request`, `POST_RESPONSE` for `response`.

use fleetway_policy::ChangeError;
use fleetway_policy::prelude::*;
use serde::Deserialize;

/// What to do with which fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    request: Vec<Rule>,
    #[serde(default)]
    response: Vec<Rule>,
}

/// One change.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// One more value.
    Add { name: String, value: String },
    /// One value in place of all.
    Set { name: String, value: String },
    /// A value where there is none.
    SetIfMissing { name: String, value: String },
    /// No value.
    Remove { name: String },
}

impl Rule {
    fn name(&self) -> &str {
        match self {
            Self::Add { name, .. }
            | Self::Set { name, .. }
            | Self::SetIfMissing { name, .. }
            | Self::Remove { name } => name,
        }
    }

    fn run(&self, headers: &Headers) -> Result<(), ChangeError> {
        match self {
            Self::Add { name, value } => headers.append(name, value),
            Self::Set { name, value } => headers.set(name, value),
            Self::SetIfMissing { name, .. } if headers.contains(name) => Ok(()),
            Self::SetIfMissing { name, value } => headers.set(name, value),
            Self::Remove { name } => headers.remove(name).map(drop),
        }
    }
}

/// The policy.
pub struct HeaderRules(Config);

impl Policy for HeaderRules {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        let lists = [("request", &config.request), ("response", &config.response)];
        let faults: Vec<Fault> = lists
            .into_iter()
            .flat_map(|(list, rules)| rules.iter().enumerate().map(move |at| (list, at)))
            .filter(|(_, (_, rule))| !is_name(rule.name()))
            .map(|(list, (i, _))| {
                fault(
                    format!("/{list}/{i}"),
                    "`name` is no name of a field: use letters, digits and `-`",
                )
            })
            .collect();
        if faults.is_empty() {
            Ok(Self(config))
        } else {
            Err(faults)
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl PreRoute for HeaderRules {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        let headers = request.headers();
        self.0
            .request
            .iter()
            .try_for_each(|rule| rule.run(&headers))?;
        Ok(Decision::Continue)
    }
}

impl PostResponse for HeaderRules {
    fn post_response(
        &mut self,
        _: &Request,
        response: &Response,
        _: &Exchange,
        _: Option<Buffer>,
    ) -> Result<Outcome, Error> {
        let headers = response.headers();
        self.0
            .response
            .iter()
            .try_for_each(|rule| rule.run(&headers))?;
        Ok(Outcome::Continue)
    }
}

fleetway_policy::export!(HeaderRules: pre_route, post_response);

#[cfg(test)]
mod tests {
    use fleetway_policy::prelude::*;
    use fleetway_policy::testing;

    use super::HeaderRules;

    #[test]
    fn rules_are_done_in_their_order() {
        let mut policy: HeaderRules = testing::policy(
            r#"{ "request": [ { "remove": { "name": "x-a" } },
                              { "add": { "name": "x-a", "value": "1" } },
                              { "add": { "name": "x-a", "value": "2" } },
                              { "set_if_missing": { "name": "x-a", "value": "3" } },
                              { "set_if_missing": { "name": "x-b", "value": "4" } } ] }"#,
        )
        .unwrap();
        let request = testing::request("GET", "/").header("x-a", "0");
        assert_eq!(
            policy.pre_route(&request.view()).unwrap(),
            Decision::Continue
        );
        let headers = request.view().headers();
        assert_eq!(headers.get_all_str("x-a"), ["1", "2"]);
        assert_eq!(headers.get_str("x-b").unwrap(), "4");
    }

    #[test]
    fn responses_have_rules_of_their_own() {
        let mut policy: HeaderRules =
            testing::policy(r#"{"response":[{"set":{"name":"x-a","value":"1"}}]}"#).unwrap();
        let (request, response) = (testing::request("GET", "/"), testing::response(200));
        let exchange = testing::exchange("r", "c");
        policy
            .post_response(&request.view(), &response.view(), &exchange, None)
            .unwrap();
        assert_eq!(response.view().headers().get_str("x-a").unwrap(), "1");
        assert!(request.view().headers().entries().is_empty());
    }

    #[test]
    fn a_wrong_rule_is_pointed_at() {
        let at = |json| {
            testing::policy::<HeaderRules>(json).err().unwrap()[0]
                .path
                .clone()
        };
        assert_eq!(
            at(r#"{"response":[{"remove":{"name":"a b"}}]}"#),
            "/response/0"
        );
        assert_eq!(
            at(r#"{"request":[{"set":{"name":"a"}}]}"#),
            "/request/0/set"
        );
        assert_eq!(at(r#"{"requests":[]}"#), "/requests");
    }
}
