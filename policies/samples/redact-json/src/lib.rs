//! Masks fields of JSON responses by their names, as the body passes.
//!
//! ```json
//! { "fields": ["ssn", "password"], "mask": "***" }
//! ```
//! A field is masked at every depth, whatever its value. Stages: `POST_RESPONSE`, and `PRE_UPSTREAM`
//! so that upstreams do not compress; body mode `STREAMED`. Of a body it holds no more than a name.

use std::io::Write;

use fleetway_policy::prelude::*;
use serde::Deserialize;

mod redact;

use redact::Redactor;

/// What is not to be seen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    fields: Vec<String>,
    #[serde(default = "stars")]
    mask: String,
}

fn stars() -> String {
    "***".to_owned()
}

/// The policy.
pub struct RedactJson {
    redactor: Redactor,
    /// Whether this response is to be looked into.
    json: bool,
}

impl Policy for RedactJson {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<Fault>> {
        if config.fields.is_empty() {
            return Err(vec![fault("/fields", "name at least one field")]);
        }
        let fields = config.fields.into_iter().map(String::into_bytes).collect();
        Ok(Self {
            redactor: Redactor::new(fields, &config.mask),
            json: false,
        })
    }
}

impl PreUpstream for RedactJson {
    fn pre_upstream(
        &mut self,
        request: &Request,
        _: &Upstream,
        _: Option<Buffer>,
    ) -> Result<Decision, Error> {
        request.headers().set("accept-encoding", "identity")?;
        Ok(Decision::Continue)
    }
}

impl PostResponse for RedactJson {
    fn post_response(
        &mut self,
        _: &Request,
        response: &Response,
        _: &Exchange,
        _: Option<Buffer>,
    ) -> Result<Outcome, Error> {
        let headers = response.headers();
        self.json = headers
            .get_str("content-type")
            .is_some_and(|of| is_json(&of));
        if !self.json {
            return Ok(Outcome::Continue);
        }
        let codings = headers.get_all("content-encoding");
        if codings
            .iter()
            .any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
        {
            log::warn!("the upstream compresses though it was asked not to");
            return Ok(respond(502, "the response cannot be looked into").into());
        }
        // They are of the body as it was.
        for name in [
            "etag",
            "digest",
            "content-digest",
            "repr-digest",
            "content-md5",
            "accept-ranges",
        ] {
            headers.remove(name)?;
        }
        Ok(Outcome::Continue)
    }
}

impl ResponseBody for RedactJson {
    fn response_body(&mut self, mut body: BodyReader, mut out: BodyWriter) -> Result<(), Error> {
        while let Some(chunk) = body.chunk() {
            if self.json {
                out.write_all(&self.redactor.next(&chunk))?;
            } else {
                out.write_all(&chunk)?;
            }
        }
        Ok(())
    }
}

/// Whether a media type is JSON's or of one built upon it (RFC 6839 section 3.1).
fn is_json(content_type: &str) -> bool {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    matches!(
        media_type.as_str(),
        "application/json" | "text/json" | "application/x-ndjson"
    ) || media_type.ends_with("+json")
}

fleetway_policy::export!(RedactJson: pre_upstream, post_response, response_body);

#[cfg(test)]
mod tests;
