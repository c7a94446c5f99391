//! A request and where it goes.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Uri, header,
    uri::{Authority, PathAndQuery},
};
use wasmtime::component::Resource;

use super::{datetime, fields::Of};
use crate::{
    Failure, Protocol, Retries, Subject, Upstream as To,
    abi::types::{
        self, Certificate, ChangeError, Client, Datetime, Fields, HostRequest, HostUpstream,
        Request, RetryOn, Tls, Upstream,
    },
    state::State,
};

type Changed = wasmtime::Result<Result<(), ChangeError>>;

fn invalid(what: &str) -> ChangeError {
    ChangeError::Invalid(what.to_owned())
}

/// The trace in `traceparent` (W3C Trace Context section 3.2).
fn trace_id(fields: &HeaderMap) -> Option<&str> {
    let parent = fields.get("traceparent")?.to_str().ok()?;
    let mut parts = parent.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |text: &str| text.bytes().any(|byte| byte != b'0');
    let valid = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_set(trace)
        && is_hex(span, 16)
        && is_set(span);
    valid.then_some(trace)
}

/// The authority of a request: that of its target, else its `Host`.
fn authority(subject: &Subject) -> &str {
    let request = &subject.request;
    match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    }
}

pub(super) fn read_authority(text: String) -> Result<Authority, ChangeError> {
    Authority::from_maybe_shared(Bytes::from(text))
        .ok()
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or_else(|| invalid("this is no host with or without a port"))
}

/// Puts another path and query in place of the request's.
fn set_target(uri: &mut Uri, path: &str, query: Option<&str>) -> Result<(), ChangeError> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target))
        .map_err(|_| invalid("it has a character that has to be percent-encoded"))?;
    if target.query() != query {
        return Err(invalid(
            "it has a \"?\" or \"#\" that has to be percent-encoded",
        ));
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts).map_err(|_| invalid("the request has no path to change"))?;
    Ok(())
}

impl State {
    fn changes(&mut self, change: impl FnOnce(&mut Subject) -> Result<(), ChangeError>) -> Changed {
        if self.read_only {
            return Ok(Err(ChangeError::ReadOnly));
        }
        Ok(change(&mut self.subject))
    }

    fn to(&mut self) -> wasmtime::Result<&mut To> {
        self.upstream
            .as_deref_mut()
            .ok_or_else(|| Failure::Misuse("the request has been sent".into()).into())
    }
}

impl HostRequest for State {
    fn id(&mut self, _: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.subject.facts.id.clone())
    }

    fn trace_id(&mut self, _: Resource<Request>) -> wasmtime::Result<Option<String>> {
        Ok(trace_id(&self.subject.request.headers).map(str::to_owned))
    }

    fn received(&mut self, _: Resource<Request>) -> wasmtime::Result<Datetime> {
        Ok(datetime(self.subject.facts.received))
    }

    fn client(&mut self, _: Resource<Request>) -> wasmtime::Result<Client> {
        let facts = &self.subject.facts;
        let client = &facts.client;
        Ok(Client {
            address: client.address.ip().to_canonical().to_string(),
            port: client.address.port(),
            protocol: match facts.protocol {
                Protocol::Http10 => types::Protocol::Http10,
                Protocol::Http11 => types::Protocol::Http11,
                Protocol::Http2 => types::Protocol::Http2,
            },
            listener: client.listener.as_ref().to_owned(),
            connection: client.connection,
        })
    }

    fn tls(&mut self, _: Resource<Request>) -> wasmtime::Result<Option<Tls>> {
        let certificate = |known: &crate::Certificate| Certificate {
            subject: known.subject.clone(),
            uris: known.uris.clone(),
            dns_names: known.dns_names.clone(),
            sha256: known.sha256.clone(),
        };
        let tls = self.subject.facts.client.tls.as_ref();
        Ok(tls.map(|tls| Tls {
            version: tls.version.to_owned(),
            server_name: tls.server_name.clone(),
            certificate: tls.certificate.as_ref().map(certificate),
        }))
    }

    fn method(&mut self, _: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.subject.request.method.as_str().to_owned())
    }

    fn set_method(&mut self, _: Resource<Request>, method: String) -> Changed {
        self.changes(|subject| {
            let method = Method::from_bytes(method.as_bytes())
                .map_err(|_| invalid("this is no method (RFC 9110 section 9.1)"))?;
            // What makes a tunnel is not made of a request that is none, nor the other way round.
            if method == Method::CONNECT || subject.request.method == Method::CONNECT {
                return Err(ChangeError::Forbidden);
            }
            subject.request.method = method;
            Ok(())
        })
    }

    fn scheme(&mut self, _: Resource<Request>) -> wasmtime::Result<String> {
        let secure = self.subject.facts.client.tls.is_some();
        Ok(if secure { "https" } else { "http" }.to_owned())
    }

    fn authority(&mut self, _: Resource<Request>) -> wasmtime::Result<String> {
        Ok(authority(&self.subject).to_owned())
    }

    fn set_authority(&mut self, _: Resource<Request>, text: String) -> Changed {
        self.changes(|subject| {
            let authority = read_authority(text)?;
            let request = &mut subject.request;
            if request.method == Method::CONNECT {
                return Err(ChangeError::Forbidden);
            }
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| invalid("this is no host with or without a port"))?;
            if request.uri.authority().is_some() {
                let mut parts = request.uri.clone().into_parts();
                parts.authority = Some(authority);
                request.uri = Uri::from_parts(parts)
                    .map_err(|_| invalid("the request has no authority to change"))?;
                if request.headers.contains_key(header::HOST) {
                    request.headers.insert(header::HOST, host);
                }
            } else {
                request.headers.insert(header::HOST, host);
            }
            Ok(())
        })
    }

    fn path(&mut self, _: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.subject.request.uri.path().to_owned())
    }

    fn set_path(&mut self, _: Resource<Request>, path: String) -> Changed {
        self.changes(|subject| {
            if !path.starts_with('/') {
                return Err(invalid("a path begins with \"/\""));
            }
            if path.contains(['?', '#']) {
                return Err(invalid(
                    "a path has no \"?\" or \"#\": encode it, or set the query",
                ));
            }
            let path = (subject.facts.paths)(&path).map_err(ChangeError::Invalid)?;
            let uri = &mut subject.request.uri;
            let query = uri.query().map(str::to_owned);
            set_target(uri, &path, query.as_deref())
        })
    }

    fn query(&mut self, _: Resource<Request>) -> wasmtime::Result<Option<String>> {
        Ok(self.subject.request.uri.query().map(str::to_owned))
    }

    fn set_query(&mut self, _: Resource<Request>, query: Option<String>) -> Changed {
        self.changes(|subject| {
            let uri = &mut subject.request.uri;
            let path = uri.path().to_owned();
            set_target(uri, &path, query.as_deref())
        })
    }

    fn headers(&mut self, _: Resource<Request>) -> wasmtime::Result<Resource<Fields>> {
        Of::Request.handle(self)
    }

    fn drop(&mut self, _: Resource<Request>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostUpstream for State {
    fn route(&mut self, _: Resource<Upstream>) -> wasmtime::Result<String> {
        Ok(self.to()?.route.clone())
    }

    fn labels(&mut self, _: Resource<Upstream>) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.to()?.labels.clone())
    }

    fn cluster(&mut self, _: Resource<Upstream>) -> wasmtime::Result<String> {
        Ok(self.to()?.cluster.clone())
    }

    fn authority(&mut self, _: Resource<Upstream>) -> wasmtime::Result<String> {
        let to = self.to()?;
        Ok(match &to.set_authority {
            Some(set) => set.to_str().unwrap_or_default().to_owned(),
            None => to.authority.clone(),
        })
    }

    fn path_with_query(&mut self, _: Resource<Upstream>) -> wasmtime::Result<String> {
        Ok(self.to()?.path_with_query.clone())
    }

    fn set_authority(&mut self, _: Resource<Upstream>, text: String) -> Changed {
        let to = self.to()?;
        Ok(read_authority(text).and_then(|authority| {
            let value = HeaderValue::from_str(authority.as_str());
            to.set_authority = Some(value.map_err(|_| invalid("this is no host"))?);
            Ok(())
        }))
    }

    fn set_timeout(&mut self, _: Resource<Upstream>, milliseconds: u32) -> wasmtime::Result<()> {
        self.to()?.set_timeout = Some(Duration::from_millis(milliseconds.max(1).into()));
        Ok(())
    }

    fn set_retries(
        &mut self,
        _: Resource<Upstream>,
        count: u32,
        on: RetryOn,
    ) -> wasmtime::Result<()> {
        self.to()?.set_retries = (count > 0).then_some(Retries {
            count: count.min(Retries::MAX),
            connect_failure: on.contains(RetryOn::CONNECT_FAILURE),
            reset: on.contains(RetryOn::RESET),
            gateway_error: on.contains(RetryOn::GATEWAY_ERROR),
        });
        Ok(())
    }

    fn drop(&mut self, _: Resource<Upstream>) -> wasmtime::Result<()> {
        Ok(())
    }
}
