//! Why a request was not answered as it was meant, and the one place that says so to the client.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use fleetway_api::{
    FieldError, Rejection,
    rest::{Code, PROBLEM_JSON, Problem},
};
use http::{HeaderValue, StatusCode, header};

use crate::{
    commit::{CommitError, Unmet},
    store::StoreError,
};

/// The most faults an answer lists.
const MAX_FAULTS: usize = 1000;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The request is not well-formed: the places (a query parameter, a header) and the reasons.
    #[error("{}", Rejection::from(.0.clone()))]
    BadRequest(Vec<FieldError>),
    /// The resources are not valid.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A condition of the request does not hold.
    #[error("{0}")]
    Stale(String),
    /// There is no such resource, revision or node.
    #[error("{0}")]
    NotFound(String),
    /// There is no such path.
    #[error("there is no {0}: /openapi.json lists every path")]
    NoSuchPath(String),
    /// The path does not take the method.
    #[error("{path} does not take {method}: the header `allow` lists what it takes")]
    MethodNotAllowed {
        /// The method.
        method: http::Method,
        /// The path.
        path: String,
    },
    /// A page of another origin asks, through somebody's browser.
    #[error(
        "the request has an `origin` that is not this server's own address: pages in browsers may not use it. Send it without `origin`, as pipelines do"
    )]
    CrossOrigin,
    /// The body is above the limit, in bytes.
    #[error("the body is larger than {0} bytes: send it in parts, or raise `max_body_bytes`")]
    TooLarge(usize),
    /// The component is above the limit, in bytes.
    #[error(
        "the component is larger than {0} bytes: make it smaller, or raise `max_component_size` of the server, which can be 64 MiB"
    )]
    ComponentTooLarge(usize),
    /// The content type is not that of a component.
    #[error(
        "the content type \"{0}\" is not that of a component: send its bytes as application/wasm"
    )]
    NotWasm(String),
    /// The content type is none that can be read.
    #[error("the content type \"{0}\" is not supported: send application/json or application/yaml")]
    UnsupportedMediaType(String),
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The server stops while the client waits.
    #[error("the server stops; ask again once it, or another on its store, is up")]
    Stopping,
    /// A fault of the server.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// A fault of the request in `place`: a query parameter or a header.
    pub(super) fn bad(place: &str, message: impl Into<String>) -> Self {
        Self::BadRequest(vec![FieldError::new("", place, message)])
    }
}

impl From<Vec<FieldError>> for Failure {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Commit(CommitError::Invalid(errors.into()))
    }
}

/// What a client is told of a failure.
pub(super) fn problem(failure: &Failure) -> Problem {
    let (code, rejection) = match failure {
        Failure::BadRequest(errors) => (Code::BadRequest, Some(errors.clone().into())),
        Failure::Commit(CommitError::Invalid(rejection)) if rejection.referrers.is_empty() => {
            (Code::Invalid, Some(rejection.clone()))
        }
        Failure::Commit(CommitError::Invalid(rejection)) => {
            (Code::StillReferenced, Some(rejection.clone()))
        }
        Failure::Commit(CommitError::Unmet(unmet)) => unmet_conditions(unmet),
        Failure::Stale(_) => (Code::StaleVersion, None),
        Failure::NotFound(_) => (Code::NotFound, None),
        // Nobody reads it.
        Failure::Commit(CommitError::Abandoned) => (Code::BadRequest, None),
        Failure::Commit(CommitError::KeyReused) => (Code::IdempotencyKeyReused, None),
        Failure::Commit(CommitError::Store(_)) | Failure::Store(_) => {
            (Code::StoreUnavailable, None)
        }
        Failure::NoSuchPath(_) => (Code::NoSuchPath, None),
        Failure::MethodNotAllowed { .. } => (Code::MethodNotAllowed, None),
        Failure::CrossOrigin => (Code::CrossOrigin, None),
        Failure::TooLarge(_) | Failure::ComponentTooLarge(_) => (Code::TooLarge, None),
        Failure::UnsupportedMediaType(_) | Failure::NotWasm(_) => {
            (Code::UnsupportedMediaType, None)
        }
        Failure::Stopping => (Code::ShuttingDown, None),
        Failure::Internal(_) => (Code::Internal, None),
    };
    let (status, title) = describe(code);
    let Rejection {
        mut errors,
        referrers,
    } = rejection.unwrap_or_default();
    let detail = match errors.len() {
        0 => failure.to_string(),
        // The errors say it all.
        1..=MAX_FAULTS => String::new(),
        all => format!("there are {all} faults, the first {MAX_FAULTS} are listed"),
    };
    errors.truncate(MAX_FAULTS);
    Problem {
        type_uri: "about:blank".to_owned(),
        title: title.to_owned(),
        status: status.as_u16(),
        detail,
        code,
        errors,
        referrers,
    }
}

/// The code is that of the first; several are listed.
fn unmet_conditions(unmet: &[Unmet]) -> (Code, Option<Rejection>) {
    let code = match unmet.first() {
        None | Some(Unmet::Stale { .. }) => Code::StaleVersion,
        Some(Unmet::Exists(_)) => Code::AlreadyExists,
        Some(Unmet::NotFound(_)) => Code::NotFound,
    };
    let listed = || unmet.iter().map(Unmet::fault).collect::<Vec<_>>().into();
    (code, (unmet.len() > 1).then(listed))
}

/// The status and the title of a kind of problem.
pub(super) const fn describe(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::BadRequest => (StatusCode::BAD_REQUEST, "The request is not well-formed"),
        Code::Invalid => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The resources are not valid",
        ),
        Code::StillReferenced => (StatusCode::CONFLICT, "The resource is still referred to"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "The resource exists already"),
        Code::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        Code::NoSuchPath => (StatusCode::NOT_FOUND, "There is no such path"),
        Code::MethodNotAllowed => (
            StatusCode::METHOD_NOT_ALLOWED,
            "The path does not take this method",
        ),
        Code::CrossOrigin => (StatusCode::FORBIDDEN, "A page of another origin asks"),
        Code::StaleVersion => (
            StatusCode::PRECONDITION_FAILED,
            "The resource is not at the version the write was meant for",
        ),
        Code::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
        Code::UnsupportedMediaType => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is of a type that is not taken here",
        ),
        Code::IdempotencyKeyReused => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The idempotency key was used for another transaction",
        ),
        Code::StoreUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The store did not answer as it should",
        ),
        Code::ShuttingDown => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is shutting down",
        ),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "A fault of the server"),
    }
}

/// Every kind of problem, in the order of the documentation.
pub(super) const CODES: [Code; 15] = [
    Code::BadRequest,
    Code::Invalid,
    Code::StillReferenced,
    Code::AlreadyExists,
    Code::NotFound,
    Code::NoSuchPath,
    Code::MethodNotAllowed,
    Code::CrossOrigin,
    Code::StaleVersion,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::IdempotencyKeyReused,
    Code::StoreUnavailable,
    Code::ShuttingDown,
    Code::Internal,
];

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = problem(&self);
        if problem.status >= 500 && problem.code != Code::ShuttingDown {
            tracing::error!(error = %self, "a request failed");
        }
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = serde_json::to_vec(&problem).unwrap_or_default();
        body.push(b'\n');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}
