//! `/openapi.json`: the whole interface as OpenAPI 3.1, generated. Paths come from the table the
//! router is made of, resources from the descriptors of their messages.

mod messages;
mod operations;
mod types;

use std::sync::OnceLock;

use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    Call, endpoints,
    failure::Failure,
    input::{NoParams, params},
    reply::with_type,
};

/// `GET /openapi.json`
pub(super) fn serve(call: &Call) -> Result<Response, Failure> {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    params::<NoParams>(&call.parts)?;
    let bytes = match DOCUMENT.get() {
        Some(bytes) => bytes.clone(),
        None => {
            let document = document().map_err(|error| Failure::Internal(error.to_string()))?;
            let bytes = Bytes::from(format!("{document:#}\n"));
            DOCUMENT.get_or_init(|| bytes).clone()
        }
    };
    Ok(with_type("application/json", bytes))
}

/// The document.
pub(super) fn document() -> Result<Value, prost::DecodeError> {
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let path = paths
            .entry(endpoint.path.clone())
            .or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(
                endpoint.method.as_str().to_ascii_lowercase(),
                operations::describe(endpoint.operation),
            );
        }
    }
    let mut schemas = messages::schemas()?;
    schemas.extend(types::schemas());
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fleetway management server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The configuration of a fleet of proxies. Every write makes one revision, whole and durable, or nothing. Bodies and answers are JSON or YAML, by `content-type` and `accept`. Every error is a Problem with a stable `code`; a path that is none of these is answered with 404 `no_such_path`, a method that is none of a path's with 405 `method_not_allowed` and the header `allow`.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// A reference to a schema.
fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[cfg(test)]
mod tests;
