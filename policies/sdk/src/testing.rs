//! Tests of policies without WebAssembly or a proxy.
//!
//! [`policy`] makes one as a proxy would, [`request`], [`response`] and [`buffer`] make what it looks
//! at, [`transform`] passes a body through it, and [`Proxy`] tells what it has logged, counted and
//! noted. Each thread, so each test, has a proxy of its own, with a clock that stands still.
//!
//! ```
//! use fleetway_policy::prelude::*;
//! use fleetway_policy::testing;
//!
//! struct Hello;
//! impl Policy for Hello {
//!     type Config = NoConfig;
//!     fn new(_: NoConfig) -> Result<Self, Vec<Fault>> {
//!         Ok(Self)
//!     }
//! }
//! impl PreRoute for Hello {
//!     fn pre_route(&mut self, request: &Request) -> Result<Decision, Error> {
//!         request.headers().set("x-hello", request.path())?;
//!         Ok(Decision::Continue)
//!     }
//! }
//!
//! let request = testing::request("GET", "/there");
//! let mut hello: Hello = testing::policy("{}").unwrap();
//! hello.pre_route(&request.view()).unwrap();
//! assert_eq!(request.view().headers().get_str("x-hello").unwrap(), "/there");
//! ```
//!
//! What a real proxy does besides is not done here: bringing paths into their normal form, and bounds
//! on the number and size of fields.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::http_client::{IncomingResponse, OutgoingRequest, SendError};
use crate::native::{self, host, resources as raw};
use crate::{
    BodyReader, BodyWriter, Buffer, Client, Datetime, Error, Exchange, Fault, Headers, Policy,
    Protocol, Request, Response, RetryOn, Tls, Upstream,
};

/// Makes a policy from its configuration as JSON.
pub fn policy<P: Policy>(config: &str) -> Result<P, Vec<Fault>> {
    crate::logging::install();
    crate::config::build(config)
}

/// A request that can be handed to a policy.
pub struct TestRequest(raw::Request);

/// A request with this method and this path and query, over HTTP/1.1 from 192.0.2.1.
pub fn request(method: &str, target: &str) -> TestRequest {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let head = raw::Head {
        id: "00000000-0000-4000-8000-000000000000".to_owned(),
        trace_id: None,
        received: Datetime {
            seconds: 0,
            nanoseconds: 0,
        },
        client: Client {
            address: "192.0.2.1".to_owned(),
            port: 40000,
            protocol: Protocol::Http11,
            listener: "web".to_owned(),
            connection: 1,
        },
        tls: None,
        method: method.to_owned(),
        authority: "example.com".to_owned(),
        path: path.to_owned(),
        query,
    };
    TestRequest(raw::Request {
        head: RefCell::new(head),
        fields: raw::Fields::default(),
    })
}

impl TestRequest {
    /// Adds a header field.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.fields.push(name, value.as_ref());
        self
    }

    /// Sets the authority.
    #[must_use]
    pub fn authority(self, authority: &str) -> Self {
        authority.clone_into(&mut self.0.head.borrow_mut().authority);
        self
    }

    /// Sets the client's address.
    #[must_use]
    pub fn address(self, address: &str) -> Self {
        address.clone_into(&mut self.0.head.borrow_mut().client.address);
        self
    }

    /// Sets all that is known of the client.
    #[must_use]
    pub fn client(self, client: Client) -> Self {
        self.0.head.borrow_mut().client = client;
        self
    }

    /// Lets it have come over TLS.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        self.0.head.borrow_mut().tls = Some(tls);
        self
    }

    /// Sets its id.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        id.clone_into(&mut self.0.head.borrow_mut().id);
        self
    }

    /// Sets its trace.
    #[must_use]
    pub fn trace_id(self, trace: &str) -> Self {
        self.0.head.borrow_mut().trace_id = Some(trace.to_owned());
        self
    }

    /// Lets it be one that was sent, which can no longer be changed.
    #[must_use]
    pub fn sent(self) -> Self {
        self.0.fields.freeze();
        self
    }

    /// What a policy is handed.
    pub fn view(&self) -> Request<'_> {
        Request(&self.0)
    }
}

/// A response that can be handed to a policy.
pub struct TestResponse(raw::Response);

/// A response with this status.
pub fn response(status: u16) -> TestResponse {
    TestResponse(raw::Response {
        status: Cell::new(status),
        fields: raw::Fields::default(),
    })
}

impl TestResponse {
    /// Adds a header field.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.fields.push(name, value.as_ref());
        self
    }

    /// What a policy is handed.
    pub fn view(&self) -> Response<'_> {
        Response(&self.0)
    }
}

/// How a response came to be: from an endpoint of `cluster` by way of `route`, in a millisecond.
pub fn exchange(route: &str, cluster: &str) -> Exchange {
    Exchange {
        route: Some(route.to_owned()),
        cluster: Some(cluster.to_owned()),
        endpoint: Some("192.0.2.2:8080".to_owned()),
        duration: 1000,
    }
}

/// Where a request is about to go.
pub struct TestUpstream(raw::Upstream);

/// To `cluster` by way of `route`, with this path and query.
pub fn upstream(route: &str, cluster: &str, target: &str) -> TestUpstream {
    TestUpstream(raw::Upstream {
        route: route.to_owned(),
        labels: Vec::new(),
        cluster: cluster.to_owned(),
        authority: RefCell::new("example.com".to_owned()),
        path_with_query: target.to_owned(),
        timeout: Cell::new(None),
        retries: Cell::new(None),
    })
}

impl TestUpstream {
    /// Adds a label of the route.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the authority the upstream sees.
    #[must_use]
    pub fn authority(self, authority: &str) -> Self {
        self.0.authority.replace(authority.to_owned());
        self
    }

    /// What a policy is handed.
    pub fn view(&self) -> Upstream<'_> {
        Upstream(&self.0)
    }

    /// The time-out, where the policy has set one.
    pub fn timeout(&self) -> Option<Duration> {
        self.0
            .timeout
            .get()
            .map(|ms| Duration::from_millis(ms.into()))
    }

    /// How often and for what it is sent again, where the policy has set it.
    pub fn retries(&self) -> Option<(u32, RetryOn)> {
        self.0.retries.get()
    }
}

/// A whole body that can be handed to a policy.
pub struct TestBuffer(raw::Buffer);

/// A body of these bytes, without trailers.
pub fn buffer(bytes: impl AsRef<[u8]>) -> TestBuffer {
    TestBuffer(raw::Buffer {
        bytes: RefCell::new(bytes.as_ref().to_vec()),
        trailers: None,
    })
}

impl TestBuffer {
    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0
            .trailers
            .get_or_insert_default()
            .push(name, value.as_ref());
        self
    }

    /// What a policy is handed.
    pub fn view(&self) -> Buffer<'_> {
        Buffer(&self.0)
    }
}

/// Passes a body through a policy, chunk by chunk, and gives what comes out.
pub fn transform<C: AsRef<[u8]>>(
    chunks: impl IntoIterator<Item = C>,
    by: impl FnOnce(BodyReader, BodyWriter) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    transform_with_trailers(chunks, &[], by).map(|(body, _)| body)
}

/// The same for a body with trailers, where there are any; gives those too.
pub fn transform_with_trailers<C: AsRef<[u8]>>(
    chunks: impl IntoIterator<Item = C>,
    trailers: &[(&str, &str)],
    by: impl FnOnce(BodyReader, BodyWriter) -> Result<(), Error>,
) -> Result<(Vec<u8>, Option<Headers>), Error> {
    let fields = (!trailers.is_empty()).then(raw::Fields::default);
    for (name, value) in trailers {
        fields
            .iter()
            .for_each(|fields| fields.push(name, value.as_bytes()));
    }
    let chunks = chunks.into_iter().map(|chunk| chunk.as_ref().to_vec());
    let reader = raw::BodyReader {
        // A proxy hands on no chunk of nothing: that would be the end.
        chunks: RefCell::new(chunks.filter(|chunk| !chunk.is_empty()).collect()),
        ended: Cell::new(false),
        trailers: fields.clone(),
    };
    let writer = raw::BodyWriter::default();
    by(BodyReader::new(&reader), BodyWriter(&writer))?;
    Ok((writer.0.into_inner(), fields.map(Headers)))
}

/// This thread's proxy.
pub struct Proxy;

impl Proxy {
    /// Sets what time it is, as the time since 1970.
    pub fn set_now(now: Duration) {
        host(|host| host.now = now);
    }

    /// Lets time pass, on both clocks.
    pub fn advance(by: Duration) {
        host(|host| {
            host.now += by;
            host.monotonic += by;
        });
    }

    /// Lets another policy have noted something.
    pub fn note(policy: &str, key: &str, value: impl AsRef<[u8]>) {
        let (at, value) = ((policy.to_owned(), key.to_owned()), value.as_ref().to_vec());
        host(|host| host.notes.insert(at, value));
    }

    /// What the policy under test has noted.
    pub fn noted(key: &str) -> Option<Vec<u8>> {
        crate::metadata::get(native::POLICY, key)
    }

    /// Has the policy's own requests answered like this; without it, all are forbidden.
    ///
    /// ```
    /// use fleetway_policy::http_client::{self, IncomingResponse};
    /// use fleetway_policy::testing::Proxy;
    ///
    /// Proxy::answer_http(|request| {
    ///     assert_eq!(request.cluster, "auth");
    ///     Ok(IncomingResponse { status: 204, headers: Vec::new(), body: Vec::new() })
    /// });
    /// assert_eq!(http_client::get("auth", "/check").send().unwrap().status, 204);
    /// ```
    pub fn answer_http(
        answers: impl FnMut(&OutgoingRequest) -> Result<IncomingResponse, SendError> + 'static,
    ) {
        host(|host| host.upstream = Some(Box::new(answers)));
    }

    /// What was logged.
    pub fn log() -> Vec<(log::Level, String)> {
        host(|host| host.log.clone())
    }

    /// What was added to the access log.
    pub fn annotations() -> Vec<(String, String)> {
        host(|host| host.annotations.clone())
    }

    /// What a counter stands at, over all labels.
    pub fn counter(name: &str) -> u64 {
        host(|host| {
            let series = host
                .counters
                .iter()
                .filter(|((series, _), _)| series == name);
            series.map(|(_, count)| count).sum()
        })
    }

    /// What a gauge stands at.
    pub fn gauge(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        host(|host| host.gauges.get(&series(name, labels)).copied())
    }

    /// What a histogram was given.
    pub fn observations(name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        host(|host| {
            host.observations
                .get(&series(name, labels))
                .cloned()
                .unwrap_or_default()
        })
    }
}

fn series(name: &str, labels: &[(&str, &str)]) -> native::Series {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    (name.to_owned(), labels.collect())
}

#[cfg(test)]
mod tests;
