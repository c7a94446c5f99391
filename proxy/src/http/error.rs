//! What can go wrong with a request, and the one place where that becomes a response.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{PathFault, ResponseBody, watchdog::Expired};
use crate::upstream::UpstreamError;

/// Why a request was answered by the proxy itself.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request is not one this proxy takes: why.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The path can be read in more than one way: how.
    #[error("{0}")]
    Path(#[from] PathFault),
    /// The request's body is longer than the route takes.
    #[error("the request body is larger than this route takes")]
    BodyTooLarge,
    /// A head over a limit of the listener.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The request target is over the limit of the listener.
    #[error("the request target is too long")]
    UriTooLong,
    /// The proxy is short of memory.
    #[error("the proxy is overloaded")]
    Overloaded,
    /// A method that is not served here: why.
    #[error("{0}")]
    MethodNotAllowed(&'static str),
    /// No route matches.
    #[error("no route matches this request")]
    NoRoute,
    /// The route's cluster has no endpoint to take.
    #[error("no endpoint is available")]
    NoEndpoint,
    /// The upstream could not be reached or answered wrongly.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// It asked for a tunnel over HTTP/2, where any success is one, and there is none.
    #[error("the upstream did not change the protocol")]
    NoTunnel,
    /// A clock of the route ran out.
    #[error("upstream request timeout")]
    Timeout(Expired),
    /// A policy failed, and says what is to be answered then.
    #[error("{}", body.as_deref().unwrap_or("a policy failed"))]
    Policy {
        /// The status.
        status: StatusCode,
        /// What the client is told, if not the proxy's own words.
        body: Option<Box<str>>,
    },
    /// A policy sends the request to a route that is not there.
    #[error("a policy chose a route that is not there")]
    NoSuchRoute,
    /// A policy sends the request to a cluster that is not there.
    #[error("a policy chose a cluster that is not there")]
    NoSuchCluster,
}

impl Failure {
    /// A policy failed that says nothing of what is to be answered.
    pub(super) const POLICY: Self = Self::Policy {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        body: None,
    };

    /// The status the client gets.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Path(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NoEndpoint
            | Self::Overloaded
            | Self::Upstream(
                UpstreamError::Connect(..) | UpstreamError::Tls(..) | UpstreamError::Unprocessed(_),
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(UpstreamError::ConnectTimeout(_)) | Self::Timeout(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::NoTunnel | Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::NoSuchRoute | Self::NoSuchCluster => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Policy { status, .. } => *status,
        }
    }

    /// The reason, as the access log has it.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Path(_) => "bad_path",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::Overloaded => "overloaded",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoint",
            Self::NoTunnel => "upstream_no_upgrade",
            Self::Timeout(expired) => expired.cause(),
            Self::Policy { .. } => "policy_failure",
            Self::NoSuchRoute | Self::NoSuchCluster => "policy_route",
            Self::Upstream(error) => match error {
                UpstreamError::Connect(..) => "upstream_connect_failure",
                UpstreamError::ConnectTimeout(_) => "upstream_connect_timeout",
                UpstreamError::Tls(..) => "upstream_tls_failure",
                UpstreamError::Unprocessed(_) => "upstream_unprocessed",
                UpstreamError::NoUpgrade(_) => "upstream_no_upgrade",
                UpstreamError::Broken(..) | UpstreamError::RequestBody(_) => "upstream_reset",
            },
        }
    }

    /// What the client is told. It names the fault, not the upstream.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Upstream(UpstreamError::ConnectTimeout(_)) => "upstream connect timeout".into(),
            Self::Upstream(UpstreamError::Connect(..)) => "upstream connect failure".into(),
            Self::Upstream(UpstreamError::Tls(..)) => "upstream TLS failure".into(),
            Self::Upstream(UpstreamError::Unprocessed(_)) => {
                "upstream did not take the request".into()
            }
            Self::Upstream(UpstreamError::NoUpgrade(_)) => {
                "upstream takes no such upgrade over HTTP/2".into()
            }
            Self::Upstream(_) => "upstream reset before its response".into(),
            other => other.to_string(),
        }
    }

    /// The response the client gets.
    #[must_use]
    pub fn response(&self) -> Response<ResponseBody> {
        let text = match self {
            // To the letter.
            Self::Policy {
                body: Some(body), ..
            } => body.to_string(),
            other => other.text() + "\n",
        };
        let mut response = Response::new(ResponseBody::full(Bytes::from(text)));
        *response.status_mut() = self.status();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if matches!(self, Self::MethodNotAllowed(_)) {
            // RFC 9110 section 15.5.6: which methods are; none for such a target.
            let none = HeaderValue::from_static("");
            response.headers_mut().insert(header::ALLOW, none);
        }
        if matches!(self, Self::Overloaded) {
            let a_second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, a_second);
        }
        if matches!(
            self,
            Self::BadRequest(_) | Self::MethodNotAllowed(_) | Self::Overloaded
        ) {
            // What follows on the connection cannot be trusted to be the next request; or it is to
            // free what it holds.
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::SocketAddr};

    use super::*;
    use crate::{http::grpc, tls::HandshakeError};

    #[test]
    fn every_failure_is_on_the_page_as_it_is() {
        let page = include_str!("../../../docs/responses.md");
        let log = include_str!("../../../docs/access-log.md");
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let broken = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for failure in [
            Failure::BodyTooLarge,
            Failure::HeadTooLarge,
            Failure::UriTooLong,
            Failure::Overloaded,
            Failure::MethodNotAllowed("CONNECT is not allowed here: no route takes it"),
            Failure::MethodNotAllowed("method not allowed"),
            Failure::NoRoute,
            Failure::NoEndpoint,
            Failure::Upstream(UpstreamError::Connect(at, broken())),
            Failure::Upstream(UpstreamError::ConnectTimeout(at)),
            Failure::Upstream(UpstreamError::Tls(at, HandshakeError::timeout())),
            Failure::Upstream(UpstreamError::Broken(at, "why".into())),
            Failure::Upstream(UpstreamError::Unprocessed(at)),
            Failure::Upstream(UpstreamError::NoUpgrade(at)),
            Failure::Timeout(Expired::Total),
            Failure::NoSuchRoute,
            Failure::NoSuchCluster,
        ] {
            let number = grpc::response(&failure).headers()["grpc-status"].clone();
            let name = match number.to_str().unwrap() {
                "2" => "UNKNOWN",
                "4" => "DEADLINE_EXCEEDED",
                "8" => "RESOURCE_EXHAUSTED",
                "12" => "UNIMPLEMENTED",
                "14" => "UNAVAILABLE",
                other => other,
            };
            let status = failure.status().as_u16();
            let row = format!("| `{}` | {status} | `{name}` |\n", failure.text());
            assert!(page.contains(&row), "{row}");
            let cause = format!("`{}`", failure.cause());
            assert!(log.contains(&cause), "{cause}");
        }
        // What asks for a tunnel is no call.
        let none = Failure::NoTunnel;
        let row = format!("| `{}` | {} | |\n", none.text(), none.status().as_u16());
        assert!(page.contains(&row), "{row}");
    }
}
