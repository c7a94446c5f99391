//! stub
use axum::response::Response;
use super::{Call, failure::Failure};
pub(super) fn serve(_call: &Call) -> Result<Response, Failure> { Err(Failure::NoSuchPath(String::new())) }
