//! Sends a share of the users to another cluster, and the same users each time.
//!
//! ```json
//! { "cookie": "canary", "cluster": "shop-next", "percent": 5 }
//! ```
//! A user without the cookie is drawn once and is given it: `1` for the new cluster, `0` for the old
//! one. Who sets it to `1` or `0` by hand chooses. `max_age`, in seconds, is how long a draw lasts, a
//! day where nothing is said. Stages: `PRE_ROUTE` and `POST_RESPONSE`, both.

use fleetway_policy::prelude::*;
use fleetway_policy::{metadata, random};
use serde::Deserialize;

/// Who goes where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    cookie: String,
    cluster: String,
    percent: u8,
    #[serde(default = "a_day")]
    max_age: u32,
}

fn a_day() -> u32 {
    86_400
}

/// The note that says what was drawn.
const DRAWN: &str = "drawn";

/// The policy.
pub struct Canary(Config);

impl Policy for Canary {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        if config.percent > 100 {
            faults.push(fault("/percent", "use 0 to 100"));
        }
        if config.cookie.is_empty()
            || !config
                .cookie
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            faults.push(fault("/cookie", "use letters, digits, `-`, `_` and `.`"));
        }
        if config.cluster.is_empty() {
            faults.push(fault(
                "/cluster",
                "name the cluster that some users are to go to",
            ));
        }
        if faults.is_empty() {
            Ok(Self(config))
        } else {
            Err(faults)
        }
    }
}

impl PreRoute for Canary {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        let canary = match request.headers().cookie(&self.0.cookie).as_deref() {
            Some("1") => true,
            Some("0") => false,
            _ => {
                let canary = random::number() % 100 < u64::from(self.0.percent);
                metadata::set(DRAWN, if canary { "1" } else { "0" });
                canary
            }
        };
        Ok(if canary {
            RoutingHint::default().cluster(&self.0.cluster).into()
        } else {
            Decision::Continue
        })
    }
}

impl PostResponse for Canary {
    fn post_response(
        &mut self,
        _: &Request,
        response: &Response,
        _: &Exchange,
        _: Option<Buffer>,
    ) -> Result<Outcome, Error> {
        if let Some(drawn) = metadata::own_str(DRAWN) {
            let Config {
                cookie, max_age, ..
            } = &self.0;
            let value =
                format!("{cookie}={drawn}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax");
            response.headers().append("set-cookie", value)?;
        }
        Ok(Outcome::Continue)
    }
}

fleetway_policy::export!(Canary: pre_route, post_response);

#[cfg(test)]
mod tests {
    use fleetway_policy::prelude::*;
    use fleetway_policy::testing::{self, Proxy};

    use super::Canary;

    fn canary(percent: u8) -> Canary {
        let config = format!(r#"{{"cookie":"canary","cluster":"next","percent":{percent}}}"#);
        testing::policy(&config).unwrap()
    }

    fn set_cookie(policy: &mut Canary) -> Option<String> {
        let (request, response) = (testing::request("GET", "/"), testing::response(200));
        let exchange = testing::exchange("r", "c");
        policy
            .post_response(&request.view(), &response.view(), &exchange, None)
            .unwrap();
        response.view().headers().get_str("set-cookie")
    }

    #[test]
    fn a_cookie_decides_whatever_the_share() {
        let request = testing::request("GET", "/").header("cookie", "a=b; canary=1");
        let decision = canary(0).pre_route(&request.view()).unwrap();
        assert_eq!(decision, RoutingHint::default().cluster("next").into());
        let request = testing::request("GET", "/").header("cookie", "canary=0");
        assert_eq!(
            canary(100).pre_route(&request.view()).unwrap(),
            Decision::Continue
        );
        assert_eq!(set_cookie(&mut canary(100)), None);
    }

    #[test]
    fn who_has_none_is_drawn_and_given_one() {
        let mut policy = canary(100);
        let decision = policy
            .pre_route(&testing::request("GET", "/").view())
            .unwrap();
        assert!(matches!(decision, Decision::Reroute(_)));
        assert_eq!(Proxy::noted("drawn").unwrap(), b"1");
        assert!(
            set_cookie(&mut policy)
                .unwrap()
                .starts_with("canary=1; Path=/; Max-Age=86400;")
        );
    }

    #[test]
    fn the_share_is_about_what_it_says() {
        let mut policy = canary(20);
        let request = testing::request("GET", "/");
        let drawn = (0..1000).filter(|_| {
            matches!(
                policy.pre_route(&request.view()).unwrap(),
                Decision::Reroute(_)
            )
        });
        let drawn = drawn.count();
        assert!((150..250).contains(&drawn), "{drawn}");
    }

    #[test]
    fn each_wrong_field_is_pointed_at() {
        let faults = testing::policy::<Canary>(r#"{"cookie":"a;b","cluster":"","percent":101}"#);
        let paths: Vec<_> = faults
            .err()
            .unwrap()
            .into_iter()
            .map(|fault| fault.path)
            .collect();
        assert_eq!(paths, ["/percent", "/cookie", "/cluster"]);
    }
}
