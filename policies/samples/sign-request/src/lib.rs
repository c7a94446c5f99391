//! Signs requests to upstreams with HMAC-SHA256 (RFC 2104), so that these take them from the proxy
//! only.
//!
//! ```json
//! { "key": "c2VjcmV0IG9mIDMyIGJ5dGVzIG9yIG1vcmUuLi4uLi4=", "key_id": "2024", "header": "x-signature" }
//! ```
//! The field is `keyid="KEY_ID", created=SECONDS, signature="BASE64"`, the signature that of
//! `METHOD LF AUTHORITY LF PATH-WITH-QUERY LF SECONDS LF BODY`, all as the upstream sees them. Stage:
//! `PRE_UPSTREAM`, body mode `BUFFERED`. It comes last: what changes a request behind it breaks the
//! signature.

use base64::prelude::{BASE64_STANDARD, Engine};
use fleetway_policy::clock;
use fleetway_policy::prelude::*;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// What to sign with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In base64.
    key: String,
    key_id: String,
    #[serde(default = "header")]
    header: String,
}

fn header() -> String {
    "x-signature".to_owned()
}

/// The policy.
pub struct SignRequest {
    mac: Hmac<Sha256>,
    key_id: String,
    header: String,
}

impl Policy for SignRequest {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        let Ok(key) = BASE64_STANDARD.decode(&config.key) else {
            return Err(vec![fault("/key", "write it in base64")]);
        };
        if key.len() < 16 {
            return Err(vec![fault("/key", "use at least 16 bytes, better 32")]);
        }
        if !config
            .key_id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return Err(vec![fault(
                "/key_id",
                "use letters, digits, `-`, `_` and `.`",
            )]);
        }
        let mac = Hmac::new_from_slice(&key).map_err(|error| fault("/key", error.to_string()))?;
        Ok(Self {
            mac,
            key_id: config.key_id,
            header: config.header,
        })
    }
}

impl PreUpstream for SignRequest {
    fn pre_upstream(
        &mut self,
        request: &Request,
        upstream: &Upstream,
        body: Option<Buffer>,
    ) -> Result<Decision, Error> {
        let body = body.ok_or_else(|| Error::new("the policy's body mode has to be BUFFERED"))?;
        let created = clock::now().as_secs();
        let mut mac = self.mac.clone();
        let (authority, path) = (upstream.authority(), upstream.path_with_query());
        mac.update(format!("{}\n{authority}\n{path}\n{created}\n", request.method()).as_bytes());
        mac.update(&body.bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let value = format!(
            "keyid=\"{}\", created={created}, signature=\"{signature}\"",
            self.key_id
        );
        request.headers().set(&self.header, value)?;
        Ok(Decision::Continue)
    }
}

fleetway_policy::export!(SignRequest: pre_upstream);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleetway_policy::prelude::*;
    use fleetway_policy::testing::{self, Proxy};

    use super::SignRequest;

    const CONFIG: &str = r#"{"key":"MDEyMzQ1Njc4OWFiY2RlZg==","key_id":"k1"}"#;

    fn sign(method: &str, body: &str) -> String {
        Proxy::set_now(Duration::from_secs(1_700_000_000));
        let mut policy: SignRequest = testing::policy(CONFIG).unwrap();
        let request = testing::request(method, "/seen/by/client");
        let upstream = testing::upstream("r", "c", "/a?b=c");
        let body = testing::buffer(body);
        policy
            .pre_upstream(&request.view(), &upstream.view(), Some(body.view()))
            .unwrap();
        request.view().headers().get_str("x-signature").unwrap()
    }

    #[test]
    fn the_signature_is_that_of_the_request_as_the_upstream_sees_it() {
        let header = sign("POST", "hello");
        let signature = header
            .strip_prefix("keyid=\"k1\", created=1700000000, signature=\"")
            .unwrap();
        assert_eq!(signature, "MFlE+Pv2kEQ7EORdFRBdt4f3HynDL9XAw/iBu5SsZEQ=\"");
    }

    #[test]
    fn another_request_has_another_signature() {
        assert_ne!(sign("POST", "hello"), sign("POST", "hallo"));
        assert_ne!(sign("POST", "hello"), sign("PUT", "hello"));
    }

    #[test]
    fn without_a_body_it_fails() {
        let mut policy: SignRequest = testing::policy(CONFIG).unwrap();
        let (request, upstream) = (
            testing::request("GET", "/"),
            testing::upstream("r", "c", "/"),
        );
        assert!(
            policy
                .pre_upstream(&request.view(), &upstream.view(), None)
                .is_err()
        );
    }

    #[test]
    fn a_wrong_key_is_pointed_at() {
        for config in [
            r#"{"key":"?","key_id":"a"}"#,
            r#"{"key":"YWJj","key_id":"a"}"#,
        ] {
            let faults = testing::policy::<SignRequest>(config).err().unwrap();
            assert_eq!(faults[0].path, "/key");
        }
    }
}
