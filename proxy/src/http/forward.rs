//! Sending a request to its cluster and its answer back.

use std::{pin::pin, rc::Rc, sync::Arc};

use fleetway_api::{Forward, PathRewrite};
use http::{
    HeaderValue, Method, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};

use super::{
    Connection, Downstream, Failure, Record, RequestBody, ResponseBody, Tunnel,
    again::Again,
    body::ToClient,
    grpc, headers,
    local::View,
    policies::Overrides,
    rules::{Rules, TrailerRules},
    upgrade,
    watchdog::Watchdog,
};
use crate::{
    cluster::Cluster,
    route::{Routed as _, rewrite},
    snapshot::BoundRoute,
    upstream::{self, InFlight, UpstreamError},
};

/// The answer to a body that is not framed as it has to be.
const MALFORMED: Failure = Failure::BadRequest("the request body is malformed");

/// Forwards a request as `rule` says.
pub(super) async fn forward(
    connection: &Connection,
    view: &Rc<View>,
    bound: &Arc<BoundRoute>,
    rule: &Forward,
    (head, body): (&mut Parts, Downstream),
    record: &mut Record,
    overrides: Option<&Overrides>,
) -> Result<Response<ResponseBody>, Failure> {
    if let Some(response) = last_hop(head)? {
        return Ok(response);
    }
    let local = &connection.local;
    let slot = overrides
        .and_then(|overrides| overrides.slot)
        .or_else(|| bound.targets().choose(|total| local.random_below(total)));
    let slot = slot.ok_or(Failure::NoEndpoint)?;
    let cluster = view.snapshot.cluster(slot).ok_or(Failure::NoEndpoint)?;
    let endpoint = local.pick(cluster, slot).ok_or(Failure::NoEndpoint)?;
    record.sent_to(cluster, endpoint);
    if let Some(overrides) = overrides {
        overrides.endpoint.set(Some(endpoint));
    }

    let timeout = overrides.and_then(|overrides| overrides.timeout);
    let timeout = grpc::timeout((&*head).into(), timeout.or(rule.timeout));
    let mut watchdog = Watchdog::since(record.began(), timeout, rule.idle_timeout);
    record.watch(&watchdog.activity());
    let received = head.version;
    let interim = body.interim();
    let authority = overrides.and_then(|overrides| overrides.authority.as_ref());
    prepare(head, connection, view, bound, rule, authority)?;
    let trailers = TrailerRules::of(view, bound, &body);
    let mut body = RequestBody::new(body, &watchdog, rule.max_request_body, trailers)?;
    if body.is_to_end() {
        // Boxed: few requests come like this.
        let mut ending = Box::pin(body.end());
        let ended = watchdog.guard(ending.as_mut()).await;
        ended.map_err(Failure::Timeout)?.map_err(|_| MALFORMED)?;
    }
    let retries = overrides.and_then(|overrides| overrides.retries);
    let again = retries.and_then(|retries| Again::of(retries, head, &body));

    let in_flight = InFlight::new(cluster, local.worker, record.began());
    let to = upstream::To {
        worker: local.worker,
        pool: connection.pool(cluster),
        cluster,
        endpoint,
    };
    let client = || connection.addresses();
    let sent = match again {
        None => {
            let sending = pin!(upstream::send(to, client, head, body, interim));
            watchdog.guard(sending).await
        }
        Some(again) => {
            let next = || local.pick(cluster, slot).unwrap_or(endpoint);
            let tried = |endpoint| {
                record.sent_again(endpoint);
                if let Some(overrides) = overrides {
                    overrides.endpoint.set(Some(endpoint));
                }
            };
            let request = (head, body, interim);
            // Boxed: few requests are sent again.
            let mut sending = Box::pin(again.send(local, to, client, request, next, tried));
            watchdog.guard(sending.as_mut()).await
        }
    };
    let sent = sent.map_err(|expired| {
        let shard = cluster.counters.shard(local.worker);
        shard.timeouts.increment();
        Failure::Timeout(expired)
    })?;
    let response = sent.map_err(|error| {
        count_failure(&error, cluster, local.worker);
        match error {
            UpstreamError::RequestBody(_) if watchdog.activity().is_too_large() => {
                Failure::BodyTooLarge
            }
            UpstreamError::RequestBody(_) => {
                let fault = overrides.and_then(|overrides| overrides.fault.take());
                fault.unwrap_or(MALFORMED)
            }
            error => Failure::Upstream(error),
        }
    })?;
    cluster
        .counters
        .shard(local.worker)
        .responses
        .count(response.status());
    let activity = watchdog.activity();
    activity.touch();
    record.head_came(activity.last());
    pass_back(response, rule, received, watchdog, in_flight).ok_or(Failure::Upstream(
        UpstreamError::Broken(endpoint, NO_TUNNEL.into()),
    ))
}

/// The answer to a request that is to go no further than here (RFC 9110 section 7.6.2).
fn last_hop(head: &Parts) -> Result<Option<Response<ResponseBody>>, Failure> {
    if headers::forwards_left(&head.method, &head.headers) != Some(0) {
        return Ok(None);
    }
    if head.method == Method::TRACE {
        // It would show what was added on the way.
        return Err(Failure::MethodNotAllowed("method not allowed"));
    }
    let mut response = Response::new(ResponseBody::Full(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Some(response))
}

pub(super) fn count_failure(error: &UpstreamError, cluster: &Cluster, worker: usize) {
    let shard = cluster.counters.shard(worker);
    match error {
        UpstreamError::Connect(..) | UpstreamError::ConnectTimeout(_) | UpstreamError::Tls(..) => {
            shard.connect_failures.increment();
        }
        UpstreamError::Broken(..) | UpstreamError::Unprocessed(_) => shard.failures.increment(),
        UpstreamError::RequestBody(_) | UpstreamError::NoUpgrade(_) => {}
    }
}

/// Makes of the client's request head the one the upstream gets.
fn prepare(
    parts: &mut Parts,
    connection: &Connection,
    view: &View,
    bound: &BoundRoute,
    rule: &Forward,
    authority: Option<&HeaderValue>,
) -> Result<(), Failure> {
    let received = std::mem::replace(&mut parts.version, Version::HTTP_11);
    let given = parts.headers.get(header::HOST);
    let (host, is_field) = match parts.uri.authority() {
        Some(authority) => {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| Failure::BadRequest("the Host is not a host name"))?;
            (Some(host), false)
        }
        None => (given.cloned(), given.is_some()),
    };
    rewrite_target(parts, bound, rule)?;
    let fields = &mut parts.headers;
    let (trailers, asked) = match headers::has_hop_by_hop(fields) {
        true => (
            headers::takes_trailers(fields),
            headers::remove_hop_by_hop(fields),
        ),
        false => (false, None),
    };
    if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        // RFC 9110 section 10.1.4: it is of this connection alone, too.
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(asked) = asked
        // HTTP/2 has no such fields: there they come of an extended CONNECT.
        && received != Version::HTTP_10
    {
        upgrade::ask(fields, &asked, &rule.upgrades);
    }
    if received == Version::HTTP_2 {
        headers::join_cookies(fields);
    }
    headers::spend_forward(&parts.method, fields);
    headers::add_via(fields, received);
    let client = headers::Client {
        peer: connection.forwarded_for(),
        https: connection.is_https(),
        trusted_hops: view.listener.protocol.trusted_hops(),
    };
    let other = match authority.or(rule.host()) {
        Some(other) => Some(other.clone()),
        None if is_field => None,
        None => Some(host.clone().unwrap_or_else(|| HeaderValue::from_static(""))),
    };
    headers::add_forwarded(fields, client, host);
    let certificate = connection.tls.as_ref().and_then(|tls| tls.client.as_ref());
    headers::set_client_cert(fields, certificate.map(|client| &client.forwarded));
    if let Some(other) = other {
        fields.insert(header::HOST, other);
    }
    // Last, so that nothing a client sends has a say in it.
    Rules::of_request(view, bound.route()).apply(fields);
    Ok(())
}

/// Puts the upstream's path in place of the client's target, in origin form.
fn rewrite_target(parts: &mut Parts, bound: &BoundRoute, rule: &Forward) -> Result<(), Failure> {
    if *rule.path() == PathRewrite::Keep && parts.uri.authority().is_none() {
        return Ok(());
    }
    let before = std::mem::take(&mut parts.uri).into_parts().path_and_query;
    let before = before.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let after = rewrite::upstream_path(rule, &bound.route().path, &before)
        .map_err(|_| Failure::BadRequest("the rewritten path is no path"))?
        .unwrap_or(before);
    let mut target = http::uri::Parts::default();
    target.path_and_query = Some(after);
    parts.uri = Uri::from_parts(target)
        .map_err(|_| Failure::BadRequest("the request target is no target"))?;
    Ok(())
}

/// What is wrong with an upstream that switches protocols and keeps its connection.
const NO_TUNNEL: &str = "it switched protocols without a connection";

/// Makes of the upstream's response the one the client gets; none where there should be a tunnel
/// and there is no connection for it.
fn pass_back(
    response: Response<upstream::UpstreamBody<RequestBody, ToClient>>,
    rule: &Forward,
    received: Version,
    watchdog: Watchdog,
    mut in_flight: InFlight,
) -> Option<Response<ResponseBody>> {
    let (mut parts, body) = response.into_parts();
    let switched = headers::remove_hop_by_hop(&mut parts.headers);
    parts.version = received;
    let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        upgrade::answer(&mut parts.headers, switched);
        in_flight.end(watchdog.activity().last());
        let tunnel = Tunnel::new(body.into_switched()?, rule.tunnel_idle_timeout, in_flight);
        ResponseBody::Tunnel(Box::new(tunnel))
    } else {
        ResponseBody::forwarded(body, watchdog, in_flight)
    };
    Some(Response::from_parts(parts, body))
}
