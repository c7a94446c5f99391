//! Which version the server is, whether it lives and takes requests, and what it counts.

use std::sync::atomic::Ordering;

use axum::response::Response;
use fleetway_api::rest::ServerVersion;
use http::StatusCode;

use super::{
    Call,
    failure::Failure,
    input::{NoParams, params},
    reply::{reply, with_type},
};

const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /v1/version`
pub(super) fn version(call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    reply(StatusCode::OK, call.format, &ServerVersion { version })
}

/// `GET /healthz`
pub(super) fn healthz(call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    Ok(with_type(TEXT, "ok\n"))
}

/// `GET /readyz`
pub(super) fn readyz(call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    if call.app.ready.load(Ordering::Acquire) {
        return Ok(with_type(TEXT, "ready\n"));
    }
    let mut response = with_type(TEXT, "not ready\n");
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    Ok(response)
}

/// `GET /metrics`
pub(super) fn metrics(call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    let app = &call.app;
    let text = app
        .metrics
        .render(&app.committer.snapshot(), app.fleet.counters());
    Ok(with_type("text/plain; version=0.0.4; charset=utf-8", text))
}
