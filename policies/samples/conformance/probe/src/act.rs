//! Does what the actions of a stage say.

use std::time::Duration;

use fleetway_policy::prelude::*;
use fleetway_policy::{
    ChangeError, LocalResponse, RetryOn, access_log, clock, http_client, http_client::SendError,
    key_value, metadata, metrics, policy_name, random,
};
use serde_json::{Value, json};

use crate::action::{Action, Of, Pairs, To};
use crate::report;

/// A stage, with what it is given.
pub enum Place<'a> {
    /// Before a route is chosen.
    PreRoute { request: &'a Request<'a> },
    /// Before the request is sent.
    PreUpstream {
        request: &'a Request<'a>,
        upstream: &'a Upstream<'a>,
        body: Option<Buffer<'a>>,
    },
    /// Once there is a response.
    PostResponse {
        request: &'a Request<'a>,
        response: &'a Response<'a>,
        exchange: &'a Exchange,
        body: Option<Buffer<'a>>,
    },
}

impl<'a> Place<'a> {
    /// Its name, as in the ABI.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreRoute { .. } => "pre-route",
            Self::PreUpstream { .. } => "pre-upstream",
            Self::PostResponse { .. } => "post-response",
        }
    }

    /// The request.
    pub fn request(&self) -> &'a Request<'a> {
        match self {
            Self::PreRoute { request }
            | Self::PreUpstream { request, .. }
            | Self::PostResponse { request, .. } => request,
        }
    }

    /// The buffered body.
    pub fn body(&self) -> Option<Buffer<'a>> {
        match self {
            Self::PreRoute { .. } => None,
            Self::PreUpstream { body, .. } | Self::PostResponse { body, .. } => *body,
        }
    }

    fn fields(&self, of: Of) -> Option<Headers> {
        match (of, self) {
            (Of::Trailers, _) => self.body()?.trailers(),
            (Of::Stage, Self::PostResponse { response, .. }) => Some(response.headers()),
            (Of::Stage | Of::Request, _) => Some(self.request().headers()),
        }
    }
}

/// What ends the actions of a stage.
pub enum End {
    /// An answer.
    Respond(LocalResponse),
    /// Another route.
    Reroute(RoutingHint),
}

/// A stage at work.
pub struct Acting<'a> {
    place: Place<'a>,
    calls: u32,
    /// What the actions so far have given.
    results: Vec<Value>,
}

impl<'a> Acting<'a> {
    /// Of a stage, the instance's so-manieth.
    pub fn new(place: Place<'a>, calls: u32) -> Self {
        Self {
            place,
            calls,
            results: Vec::new(),
        }
    }

    /// Does these. Behind one that ends the stage none is done.
    pub fn run(&mut self, actions: &[Action]) -> Result<Option<End>, Error> {
        for action in actions {
            if let Some(end) = self.act(action)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn act(&mut self, action: &Action) -> Result<Option<End>, Error> {
        let result = match action {
            Action::Report { to } => return self.report(*to),
            Action::When { header, is, then } => {
                let value = self.place.request().headers().get_str(header);
                let holds = match is {
                    Some(is) => value.as_ref() == Some(is),
                    None => value.is_some(),
                };
                return if holds { self.run(then) } else { Ok(None) };
            }
            Action::FromHeader { name } => {
                let Some(json) = self.place.request().headers().get_str(name) else {
                    return Ok(None);
                };
                return self.run(&serde_json::from_str::<Vec<Action>>(&json)?);
            }
            Action::Reroute {
                route,
                cluster,
                tags,
            } => {
                return Ok(Some(End::Reroute(RoutingHint {
                    route: route.clone(),
                    cluster: cluster.clone(),
                    tags: tags.clone(),
                })));
            }
            Action::Respond {
                status,
                headers,
                body,
            } => {
                let answer = headers
                    .iter()
                    .fold(respond(*status, body.as_str()), |answer, (name, value)| {
                        answer.header(name, value.as_str())
                    });
                return Ok(Some(End::Respond(answer)));
            }
            Action::Trap {} => std::process::abort(),
            Action::Fail { message } => return Err(Error::new(message)),
            _ => match self.change(action) {
                Some(result) => result,
                None => lent(action),
            },
        };
        self.results.push(result);
        Ok(None)
    }

    fn report(&self, to: To) -> Result<Option<End>, Error> {
        let report = report::of(&self.place, self.calls, &self.results).to_string();
        match to {
            To::Header => {
                let name = format!("x-probe-{}", self.place.name());
                if let Some(headers) = self.place.fields(Of::Stage) {
                    headers.set(&name, report)?;
                }
            }
            To::Metadata => {
                metadata::set(self.place.name(), report);
            }
            To::Log => log::info!("{report}"),
            To::Body => {
                if let Some(body) = self.place.body() {
                    body.replace(report)?;
                }
            }
            To::Answer => {
                let answer = respond(200, report).header("content-type", "application/json");
                return Ok(Some(End::Respond(answer)));
            }
        }
        Ok(None)
    }

    /// Does what changes request or response; none for other actions.
    fn change(&self, action: &Action) -> Option<Value> {
        let request = self.place.request();
        Some(match action {
            Action::SetHeader { name, value, of } => {
                self.fields(*of, |f| result(f.set(name, value)))
            }
            Action::SetHeaderBytes { name, value, of } => {
                self.fields(*of, |f| result(f.set(name, value)))
            }
            Action::SetAllHeader { name, values, of } => {
                self.fields(*of, |f| result(f.set_all(name, values)))
            }
            Action::AppendHeader { name, value, of } => {
                self.fields(*of, |f| result(f.append(name, value)))
            }
            Action::DeleteHeader { name, of } => self.fields(*of, |f| result(f.remove(name))),
            Action::GetHeader { name, of } => self.fields(*of, |f| json!(f.get_str(name))),
            Action::GetAllHeader { name, of } => self.fields(*of, |f| json!(f.get_all_str(name))),
            Action::SetMethod { method } => result(request.set_method(method)),
            Action::SetAuthority { authority } => result(request.set_authority(authority)),
            Action::SetPath { path } => result(request.set_path(path)),
            Action::SetQuery { query } => result(request.set_query(query.as_deref())),
            Action::SetStatus { status } => match &self.place {
                Place::PostResponse { response, .. } => result(response.set_status(*status)),
                _ => json!("nothing to act on"),
            },
            Action::SetUpstreamAuthority { authority } => {
                self.upstream(|up| result(up.set_authority(authority)))
            }
            Action::SetTimeout { milliseconds } => self.upstream(|up| {
                up.set_timeout(Duration::from_millis(*milliseconds));
                json!("ok")
            }),
            Action::SetRetries { count, on } => self.upstream(|up| {
                up.set_retries(*count, retry_on(on));
                json!("ok")
            }),
            Action::ReplaceBody { text } => self.body(|body| result(body.replace(text))),
            Action::AppendBody { text } => {
                self.body(|body| result(body.replace([body.bytes(), text.clone().into()].concat())))
            }
            Action::UpperBody {} => {
                self.body(|body| result(body.replace(body.bytes().to_ascii_uppercase())))
            }
            _ => return None,
        })
    }

    fn fields(&self, of: Of, act: impl FnOnce(Headers) -> Value) -> Value {
        self.place
            .fields(of)
            .map_or(json!("nothing to act on"), act)
    }

    fn body(&self, act: impl FnOnce(Buffer) -> Value) -> Value {
        self.place.body().map_or(json!("nothing to act on"), act)
    }

    fn upstream(&self, act: impl FnOnce(&Upstream) -> Value) -> Value {
        match &self.place {
            Place::PreUpstream { upstream, .. } => act(upstream),
            _ => json!("nothing to act on"),
        }
    }
}

/// Does what is the proxy's to lend.
fn lent(action: &Action) -> Value {
    match action {
        Action::MetadataSet { key, value } => json!(metadata::set(key, value)),
        Action::MetadataGet { policy, key } => json!(metadata::get_str(policy, key)),
        Action::MetadataDelete { key } => json!(metadata::delete(key)),
        Action::KeyValueGet { key } => key_value::get(key).map_or(Value::Null, |entry| {
            json!({ "value": String::from_utf8_lossy(&entry.value), "version": entry.version })
        }),
        Action::KeyValueSet { key, value, ttl } => {
            stored(key_value::set(key, value, ttl.map(Duration::from_millis)))
        }
        Action::KeyValueCompareAndSet { key, expected, value, ttl } => stored(
            key_value::compare_and_set(key, *expected, value, ttl.map(Duration::from_millis)),
        ),
        Action::KeyValueDelete { key } => json!(key_value::delete(key)),
        Action::Annotate { key, value } => json!(access_log::annotate(key, value)),
        Action::Log { level, message } => {
            log::log!(level.parse().unwrap_or(log::Level::Info), "{message}");
            json!("ok")
        }
        Action::Increment { name, labels, by } => {
            metrics::increment(name, &borrowed(labels), *by);
            json!("ok")
        }
        Action::Gauge { name, labels, value } => {
            metrics::set(name, &borrowed(labels), *value);
            json!("ok")
        }
        Action::Observe { name, labels, value } => {
            metrics::observe(name, &borrowed(labels), *value);
            json!("ok")
        }
        Action::Http { cluster, method, path, authority, headers, body, timeout } => {
            let mut request = http_client::request(method, cluster, path).body(body.as_str());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.authority = authority.clone();
            request.timeout = *timeout;
            match request.send() {
                Ok(response) => json!({
                    "status": response.status,
                    "headers": report::pairs(&response.headers),
                    "body": String::from_utf8_lossy(&response.body),
                }),
                Err(error) => json!(not_sent(error)),
            }
        }
        Action::PolicyName {} => json!(policy_name()),
        Action::Random { length } => {
            let bytes = random::bytes(*length);
            json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Action::Clock {} => json!({
            "now": u64::try_from(clock::now().as_nanos()).unwrap_or(u64::MAX),
            "monotonic": u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX),
        }),
        _ => Value::Null,
    }
}

/// Why a request of its own was not answered, in a word and what is said of it.
pub fn not_sent(error: SendError) -> String {
    match error {
        SendError::Forbidden => "forbidden".to_owned(),
        SendError::Invalid(why) => format!("invalid: {why}"),
        SendError::Timeout => "timeout".to_owned(),
        SendError::Failed(why) => format!("failed: {why}"),
        SendError::TooLarge => "too-large".to_owned(),
    }
}

fn retry_on(names: &[String]) -> RetryOn {
    let all = [
        ("connect-failure", RetryOn::CONNECT_FAILURE),
        ("reset", RetryOn::RESET),
        ("gateway-error", RetryOn::GATEWAY_ERROR),
    ];
    let chosen = all
        .iter()
        .filter(|(name, _)| names.iter().any(|of| of == name));
    chosen.fold(RetryOn::empty(), |on, (_, one)| on | *one)
}

fn result<T>(of: Result<T, ChangeError>) -> Value {
    match of {
        Ok(_) => json!("ok"),
        Err(error) => json!(error.name()),
    }
}

fn stored(of: Result<u64, key_value::SetError>) -> Value {
    match of {
        Ok(version) => json!(version),
        Err(key_value::SetError::TooLarge) => json!("too-large"),
        Err(key_value::SetError::Changed) => json!("changed"),
    }
}

fn borrowed(pairs: &Pairs) -> Vec<(&str, &str)> {
    pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
