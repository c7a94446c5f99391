//! Everything a stage sees, as JSON.

use fleetway_policy::prelude::*;
use fleetway_policy::{Protocol, Tls};
use serde_json::{Map, Value, json};

use crate::act::Place;

/// What a stage sees, with how many stages its instance has seen and what was done so far.
pub fn of(place: &Place, calls: u32, results: &[Value]) -> Value {
    let mut report = Map::new();
    let mut add = |key: &str, value| report.insert(key.to_owned(), value);
    add("stage", json!(place.name()));
    add("calls", json!(calls));
    add("request", request(place.request()));
    match place {
        Place::PreRoute { .. } => {}
        Place::PreUpstream { upstream, .. } => {
            add("upstream", upstream_of(upstream));
        }
        Place::PostResponse {
            response, exchange, ..
        } => {
            add(
                "response",
                json!({ "status": response.status(), "headers": headers(&response.headers()) }),
            );
            add(
                "exchange",
                json!({
                    "route": exchange.route,
                    "cluster": exchange.cluster,
                    "endpoint": exchange.endpoint,
                    "duration": exchange.duration,
                }),
            );
        }
    }
    if let Some(body) = place.body() {
        add(
            "body",
            json!({
                "size": body.size(),
                "text": String::from_utf8_lossy(&body.bytes()),
                "trailers": body.trailers().map(|trailers| headers(&trailers)),
            }),
        );
    }
    add("results", json!(results));
    Value::Object(report)
}

fn request(request: &Request) -> Value {
    let client = request.client();
    json!({
        "id": request.id(),
        "trace_id": request.trace_id(),
        "received": u64::try_from(request.received().as_nanos()).unwrap_or(u64::MAX),
        "client": {
            "address": client.address,
            "port": client.port,
            "protocol": match client.protocol {
                Protocol::Http10 => "http10",
                Protocol::Http11 => "http11",
                Protocol::Http2 => "http2",
            },
            "listener": client.listener,
            "connection": client.connection,
        },
        "tls": request.tls().map(tls),
        "method": request.method(),
        "scheme": request.scheme(),
        "authority": request.authority(),
        "path": request.path(),
        "query": request.query(),
        "headers": headers(&request.headers()),
    })
}

fn tls(tls: Tls) -> Value {
    json!({
        "version": tls.version,
        "server_name": tls.server_name,
        "certificate": tls.certificate.map(|certificate| json!({
            "subject": certificate.subject,
            "uris": certificate.uris,
            "dns_names": certificate.dns_names,
            "sha256": certificate.sha256,
        })),
    })
}

fn upstream_of(upstream: &Upstream) -> Value {
    json!({
        "route": upstream.route(),
        "labels": upstream.labels(),
        "cluster": upstream.cluster(),
        "authority": upstream.authority(),
        "path_with_query": upstream.path_with_query(),
    })
}

/// Fields as pairs, with what is not UTF-8 replaced. Reports are left out: each would hold the last.
pub fn headers(headers: &Headers) -> Value {
    let entries = headers.entries().into_iter();
    entries
        .filter(|(name, _)| !name.starts_with("x-probe-"))
        .map(|(name, value)| json!([name, String::from_utf8_lossy(&value)]))
        .collect()
}

/// The same of fields that are pairs.
pub fn pairs(fields: &[(String, Vec<u8>)]) -> Value {
    let pairs = fields.iter();
    pairs
        .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
        .collect()
}
