//! Filters requests by rules on path, query, headers and method, as web application firewalls do.
//!
//! ```json
//! { "mode": "block", "threshold": 5, "status": 403,
//!   "rules": [ { "id": "sqli-1", "in": ["query"], "pattern": "(?i)union\\s+select", "score": 5 },
//!              { "id": "agent-1", "in": ["header:user-agent"], "pattern": "(?i)sqlmap|nikto", "score": 5 },
//!              { "id": "path-1", "in": ["path"], "pattern": "/\\.(git|env)", "score": 3 } ] }
//! ```
//! Each rule that matches adds its score; at the threshold the request is answered with the status.
//! In mode `detect` it goes on, and only log, access log and metrics tell. Patterns are looked for in
//! the text as it came and with its percent-encoding undone. They are regular expressions without
//! look-around, so none takes long. Stage: `PRE_ROUTE`.

use fleetway_policy::prelude::*;
use fleetway_policy::{access_log, metrics};
use regex_lite::Regex;
use serde::Deserialize;

/// The rules and what follows of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    mode: Mode,
    threshold: u32,
    #[serde(default = "forbidden")]
    status: u16,
    rules: Vec<RuleConfig>,
}

fn forbidden() -> u16 {
    403
}

/// Whether requests are stopped.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Block,
    Detect,
}

/// A rule as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    id: String,
    #[serde(rename = "in")]
    targets: Vec<String>,
    pattern: String,
    score: u32,
}

/// What a rule looks at.
#[derive(Debug)]
enum Target {
    Method,
    Path,
    Query,
    Headers,
    Header(String),
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "method" => Self::Method,
            "path" => Self::Path,
            "query" => Self::Query,
            "headers" => Self::Headers,
            other => match other.strip_prefix("header:")? {
                "" => return None,
                name => Self::Header(name.to_owned()),
            },
        })
    }

    fn texts(&self, request: &Request) -> Vec<String> {
        let values: Vec<Vec<u8>> = match self {
            Self::Method => return vec![request.method()],
            Self::Path => vec![request.path().into()],
            Self::Query => request
                .query()
                .into_iter()
                .map(String::into_bytes)
                .collect(),
            Self::Headers => request
                .headers()
                .entries()
                .into_iter()
                .map(|(_, value)| value)
                .collect(),
            Self::Header(name) => request.headers().get_all(name),
        };
        values
            .into_iter()
            .flat_map(|value| {
                let plain = decoded(&value, matches!(self, Self::Query));
                [value, plain].map(|text| String::from_utf8_lossy(&text).into_owned())
            })
            .collect()
    }
}

/// Text with its percent-encoding undone, and `+` for a space where that is meant.
fn decoded(text: &[u8], plus: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        let digit = |at| {
            rest.as_slice()
                .get(at)
                .and_then(|&d| char::from(d).to_digit(16))
        };
        out.push(match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                rest.nth(1);
                u8::try_from(high << 4 | low).unwrap_or(byte)
            }
            (b'+', _, _) if plus => b' ',
            _ => byte,
        });
    }
    out
}

#[derive(Debug)]
struct Rule {
    id: String,
    targets: Vec<Target>,
    pattern: Regex,
    score: u32,
}

impl Rule {
    fn matches(&self, request: &Request) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| {
            target
                .texts(request)
                .iter()
                .any(|text| self.pattern.is_match(text))
        })
    }
}

/// The policy.
pub struct CorazaLite {
    mode: Mode,
    threshold: u32,
    status: u16,
    rules: Vec<Rule>,
}

impl Policy for CorazaLite {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        if !(400..600).contains(&config.status) {
            faults.push(fault("/status", "use 400 to 599"));
        }
        if config.threshold == 0 {
            faults.push(fault(
                "/threshold",
                "use 1 or more: with 0 every request is stopped",
            ));
        }
        for (i, rule) in config.rules.into_iter().enumerate() {
            let mut targets = Vec::new();
            for (j, target) in rule.targets.iter().enumerate() {
                match Target::parse(target) {
                    Some(target) => targets.push(target),
                    None => faults.push(fault(
                        format!("/rules/{i}/in/{j}"),
                        "use `method`, `path`, `query`, `headers` or `header:NAME`",
                    )),
                }
            }
            match Regex::new(&rule.pattern) {
                Ok(pattern) => {
                    rules.push(Rule {
                        id: rule.id,
                        targets,
                        pattern,
                        score: rule.score,
                    });
                }
                Err(error) => {
                    faults.push(fault(format!("/rules/{i}/pattern"), error.to_string()));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            mode: config.mode,
            threshold: config.threshold,
            status: config.status,
            rules,
        })
    }
}

impl PreRoute for CorazaLite {
    fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
        let hits: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.matches(request))
            .collect();
        let score = hits
            .iter()
            .fold(0_u32, |sum, rule| sum.saturating_add(rule.score));
        for rule in &hits {
            metrics::increment("rule_matches_total", &[("rule", &rule.id)], 1);
        }
        if score < self.threshold {
            return Ok(Decision::Continue);
        }
        let ids: Vec<&str> = hits.iter().map(|rule| rule.id.as_str()).collect();
        log::warn!("score {score} by {}", ids.join(", "));
        access_log::annotate("rules", &ids.join(","));
        Ok(match self.mode {
            Mode::Block => respond(self.status, "the request was refused\n").into(),
            Mode::Detect => Decision::Continue,
        })
    }
}

fleetway_policy::export!(CorazaLite: pre_route);

#[cfg(test)]
mod tests {
    use fleetway_policy::prelude::*;
    use fleetway_policy::testing::{self, Proxy, TestRequest};

    use super::CorazaLite;

    const RULES: &str = r#""threshold": 5, "rules": [
        { "id": "sqli", "in": ["query"], "pattern": "(?i)union\\s+select", "score": 5 },
        { "id": "agent", "in": ["header:user-agent"], "pattern": "sqlmap", "score": 3 },
        { "id": "any", "in": ["headers"], "pattern": "\\$\\{jndi:", "score": 5 },
        { "id": "dots", "in": ["path"], "pattern": "\\.(git|env)", "score": 3 } ]"#;

    fn is_stopped(request: TestRequest) -> bool {
        let mut policy: CorazaLite = testing::policy(&format!("{{{RULES}}}")).unwrap();
        match policy.pre_route(&request.view()).unwrap() {
            Decision::Respond(answer) => answer.status == 403,
            _ => false,
        }
    }

    #[test]
    fn scores_add_up_to_the_threshold() {
        assert!(!is_stopped(testing::request("GET", "/a?b=c")));
        assert!(!is_stopped(testing::request("GET", "/.git/config")));
        assert!(is_stopped(
            testing::request("GET", "/.git/x").header("user-agent", "sqlmap")
        ));
        assert_eq!(Proxy::counter("rule_matches_total"), 3);
        assert_eq!(
            Proxy::annotations(),
            [("rules".to_owned(), "agent,dots".to_owned())]
        );
    }

    #[test]
    fn encoding_hides_nothing() {
        assert!(is_stopped(testing::request("GET", "/?q=1+UnIoN+select")));
        assert!(is_stopped(testing::request(
            "GET",
            "/?q=1%20un%69on%0aselect"
        )));
        assert!(is_stopped(
            testing::request("GET", "/").header("x", "${jndi:ldap}")
        ));
        assert!(!is_stopped(testing::request("GET", "/?q=%zz%2")));
    }

    #[test]
    fn detection_lets_pass_and_tells() {
        let mut policy: CorazaLite =
            testing::policy(&format!(r#"{{"mode":"detect",{RULES}}}"#)).unwrap();
        let request = testing::request("GET", "/?q=union%20select");
        assert_eq!(
            policy.pre_route(&request.view()).unwrap(),
            Decision::Continue
        );
        assert_eq!(
            Proxy::log(),
            [(log::Level::Warn, "score 5 by sqli".to_owned())]
        );
    }

    #[test]
    fn each_wrong_rule_is_pointed_at() {
        let config = r#"{"threshold":0,"status":200,"rules":[
            {"id":"a","in":["body"],"pattern":"(","score":1}]}"#;
        let faults = testing::policy::<CorazaLite>(config).err().unwrap();
        let paths: Vec<_> = faults.into_iter().map(|fault| fault.path).collect();
        assert_eq!(
            paths,
            ["/status", "/threshold", "/rules/0/in/0", "/rules/0/pattern"]
        );
    }
}
