//! CONNECT: a tunnel to an endpoint of the route's cluster (RFC 9110 section 9.3.6).

use std::rc::Rc;

use fleetway_api::Action;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::{
    Connection, Failure, Record, ResponseBody, Tunnel, forward::count_failure, local::View,
};
use crate::{
    http1::Switched,
    route::Routed as _,
    snapshot::{BoundRoute, Slot},
    tls::Speak,
    upstream::{self, InFlight},
};

/// The answer to a CONNECT no route takes.
pub(super) const REFUSED: Failure =
    Failure::MethodNotAllowed("CONNECT is not allowed here: no route takes it");

/// Connects as the route says, if it takes CONNECT. The host the client named has chosen the route
/// and means nothing beyond that: it is the cluster that says where to.
pub(super) async fn connect(
    connection: &Connection,
    view: &Rc<View>,
    bound: &BoundRoute,
    record: &mut Record,
    slot: Option<Slot>,
) -> Result<Response<ResponseBody>, Failure> {
    let rule = match &bound.route().action {
        Action::Forward(rule) if rule.connect => rule,
        _ => return Err(REFUSED),
    };
    let local = &connection.local;
    let slot = slot.or_else(|| bound.targets().choose(|total| local.random_below(total)));
    let slot = slot.ok_or(Failure::NoEndpoint)?;
    let cluster = view.snapshot.cluster(slot).ok_or(Failure::NoEndpoint)?;
    let endpoint = local.pick(cluster, slot).ok_or(Failure::NoEndpoint)?;
    record.sent_to(cluster, endpoint);
    let mut in_flight = InFlight::new(cluster, local.worker, record.began());
    let client = || connection.addresses();
    let io = upstream::connect(cluster, local.worker, endpoint, Speak::Bytes, client)
        .await
        .inspect_err(|error| count_failure(error, cluster, local.worker))?;
    cluster.counters.shard(local.worker).connections.increment();
    in_flight.end(Instant::now());
    let upstream = Switched {
        io,
        read: bytes::Bytes::new(),
    };
    let tunnel = Tunnel::new(upstream, rule.tunnel_idle_timeout, in_flight);
    let mut response = Response::new(ResponseBody::Tunnel(Box::new(tunnel)));
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}
