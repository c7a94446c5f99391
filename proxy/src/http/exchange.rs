//! The whole life of a request: match, act, answer.

use std::{
    cell::OnceCell,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use fleetway_api::{Action, DirectResponse, Redirect, Route};
use fleetway_policy_runtime::Client;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};

use super::{
    Downstream, Failure, Record, ResponseBody, connect, forward, grpc, headers,
    local::{Entrance, Local, View},
    policies::{Overrides, Passage, Way},
    rules::Rules,
    screen::screen,
    target::{Head, Target},
    tunnel::ToTunnel,
};
use crate::{
    cluster::Cluster,
    proxy_protocol::Addresses,
    route::{RequestView, Routed as _, rewrite},
    snapshot::{BoundRoute, Protocol},
    tls::TlsFacts,
    upstream::Pool,
};

/// What the requests of one connection have in common.
#[derive(Debug)]
pub struct Connection {
    /// The worker's own state.
    pub local: Rc<Local>,
    /// The listener it came in on.
    pub entrance: Rc<Entrance>,
    /// The client.
    pub peer: SocketAddr,
    /// What it connected to, where a cluster is to be told.
    pub destination: Option<SocketAddr>,
    /// What its TLS handshake told, if it came over TLS.
    pub tls: Option<Box<TlsFacts>>,
    /// The client as `x-forwarded-for` has it, once a request was forwarded.
    pub(super) forwarded_for: OnceCell<HeaderValue>,
    /// What the lines of its requests in the access log begin with, once there is one.
    pub(super) logged: OnceCell<Box<[u8]>>,
    /// What policies are told of it, once there is one.
    pub(super) client: OnceCell<Arc<Client>>,
    /// Connections to clusters that are told of clients: these are for this one alone.
    pub(super) own: OnceCell<Rc<Pool>>,
}

impl Connection {
    /// One that no request came on yet.
    #[must_use]
    pub const fn new(
        local: Rc<Local>,
        entrance: Rc<Entrance>,
        peer: SocketAddr,
        destination: Option<SocketAddr>,
        tls: Option<Box<TlsFacts>>,
    ) -> Self {
        Self {
            local,
            entrance,
            peer,
            destination,
            tls,
            forwarded_for: OnceCell::new(),
            logged: OnceCell::new(),
            client: OnceCell::new(),
            own: OnceCell::new(),
        }
    }

    /// Whether it came over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    /// The client as `x-forwarded-for` has it.
    pub(super) fn forwarded_for(&self) -> &HeaderValue {
        self.forwarded_for
            .get_or_init(|| headers::address(self.peer.ip()))
    }

    /// The connections to `cluster` that its requests may use.
    pub(super) fn pool(&self, cluster: &Cluster) -> &Rc<Pool> {
        match cluster.proxy_protocol {
            Some(_) => self.own.get_or_init(|| self.local.pool.of_client()),
            None => &self.local.pool,
        }
    }

    /// The client and what it connected to; where that is not known, no address.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let any: IpAddr = match self.peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Addresses {
            source: self.peer,
            destination: self.destination.unwrap_or(SocketAddr::new(any, 0)),
        }
    }
}

/// Takes a request and gives its response. Never fails: what goes wrong becomes a response.
///
/// The head stays here to its end, and everything on the way borrows it: an `async fn` would hold
/// it twice, and so would every other it is handed on to.
pub fn exchange(
    connection: Rc<Connection>,
    request: Request<Downstream>,
) -> impl Future<Output = Response<ResponseBody>> {
    let (mut head, body) = request.into_parts();
    async move { answer(&connection, &mut head, body).await }
}

async fn answer(
    connection: &Connection,
    head: &mut Parts,
    body: Downstream,
) -> Response<ResponseBody> {
    // One view for the whole request: what is swapped in meanwhile is the next request's.
    let view = connection.entrance.view(&connection.local);
    let id = headers::request_id(&mut head.headers, || connection.local.random_id());
    let mut record = Record::begin(connection, &view, head, &id);
    let bodiless = head.method == Method::HEAD;
    let to_tunnel = head.extensions.remove::<ToTunnel>().is_some();
    let own = Own {
        connection,
        view: &view,
        grpc: !to_tunnel && grpc::is_call(&*head),
        id,
    };
    let screened = match &view.listener.protocol {
        _ if connection.local.overload.sheds_requests() => Err(Failure::Overloaded),
        Protocol::Http(rules) => screen(head, rules).map(|()| rules),
        // Requests come in where HTTP is spoken.
        _ => Err(Failure::NoRoute),
    };
    let mut passage = None;
    // Whoever holds a route counts a reference that all workers write to: without policies it is
    // borrowed of the view.
    let held;
    let (bound, answered) = match screened {
        Err(failure) => (None, Err(failure)),
        Ok(http) => match plain(&view, head) {
            Some(Ok(bound)) => {
                let answered = act(connection, &view, bound, head, body, &mut record, None).await;
                (Some(bound), answered)
            }
            Some(Err(failure)) => (None, Err(failure)),
            None => {
                // Boxed, here and below: what has no policies is not to make room for them.
                let begun = Passage::of(connection, &view, http, &own.id, head);
                let passage = passage.insert(Box::new(begun));
                record.annotated(passage.notebook());
                let mut way = Way {
                    connection,
                    view: &view,
                    passage,
                    bound: None,
                    overrides: Overrides::default(),
                };
                let answered = Box::pin(way.go(head, body, &mut record)).await;
                held = way.bound;
                (held.as_ref(), answered)
            }
        },
    };
    let answered = answered.and_then(|response| match response.body() {
        ResponseBody::Tunnel(_) => Ok(response),
        _ if to_tunnel && response.status().is_success() => Err(Failure::NoTunnel),
        _ => Ok(response),
    });
    let mut response = answered.unwrap_or_else(|failure| own.response(&failure, &mut record));
    if let Some(passage) = &mut passage {
        let bound = bound.map(Arc::as_ref);
        let looked = Box::pin(passage.respond(&view, bound, response, bodiless)).await;
        response = looked.unwrap_or_else(|failure| own.response(&failure, &mut record));
    }
    let route = bound.map(|bound| bound.route());
    Rules::of_response(&view, route).apply(response.headers_mut());
    let shard = view.listener.counters.shard(connection.local.worker);
    shard.responses.count(response.status());
    record.answered(&response);
    response.map(|body| body.recorded(record, bodiless))
}

/// What the proxy's own responses are made with.
struct Own<'e> {
    connection: &'e Connection,
    view: &'e View,
    /// Whether the request is a gRPC call.
    grpc: bool,
    id: HeaderValue,
}

impl Own<'_> {
    /// The response that says what went wrong.
    fn response(&self, failure: &Failure, record: &mut Record) -> Response<ResponseBody> {
        let connection = self.connection;
        let shard = self.view.listener.counters.shard(connection.local.worker);
        match failure {
            Failure::NoRoute => shard.no_route.increment(),
            Failure::Overloaded => shard.requests_shed.increment(),
            Failure::BadRequest(_) | Failure::Path(_) => shard.protocol_errors.increment(),
            _ => {}
        }
        record.failed(failure);
        let id = &self.id;
        tracing::debug!(request_id = ?id, peer = %connection.peer, %failure, "answered by the proxy");
        let mut response = match self.grpc {
            true => grpc::response(failure),
            false => failure.response(),
        };
        response
            .headers_mut()
            .insert(headers::X_REQUEST_ID, id.clone());
        response
    }
}

/// The route that takes a request which passes no policies, or why none does; `None` if it passes
/// some.
fn plain<'v>(view: &'v View, head: &Parts) -> Option<Result<&'v Arc<BoundRoute>, Failure>> {
    if view.listener.policies.is_some() {
        return None;
    }
    let taken = choose(view, head, &[]);
    let is_plain = taken
        .as_ref()
        .map_or(true, |bound| bound.policies().is_none());
    is_plain.then_some(taken)
}

/// The route that takes a request with these tags.
pub(super) fn choose<'v, 'r>(
    view: &'v View,
    head: impl Into<Head<'r>>,
    tags: &[(Box<str>, Box<str>)],
) -> Result<&'v Arc<BoundRoute>, Failure> {
    let head = head.into();
    let target = Target::of(head)?;
    let wanted = RequestView {
        host: target.authority,
        path: target.path.path(),
        query: target.path.query(),
        method: head.method,
        headers: head.headers,
        tags,
    };
    let taken = view.listener.table.lookup(&wanted);
    taken.ok_or_else(|| no_route(head.method))
}

/// Does with a request what its route says.
pub(super) async fn act(
    connection: &Connection,
    view: &Rc<View>,
    bound: &Arc<BoundRoute>,
    head: &mut Parts,
    body: Downstream,
    record: &mut Record,
    overrides: Option<&Overrides>,
) -> Result<Response<ResponseBody>, Failure> {
    record.matched(connection, view, bound);
    if head.method == Method::CONNECT {
        let slot = overrides.and_then(|overrides| overrides.slot);
        return connect::connect(connection, view, bound, record, slot).await;
    }
    let route = bound.route();
    match &route.action {
        Action::Respond(respond) => Ok(direct(respond)),
        Action::Redirect(rule) => {
            let hops = view.listener.protocol.trusted_hops();
            let https = headers::is_https(&head.headers, connection.is_https(), hops);
            redirect(https, route, rule, &Target::of(&*head)?)
        }
        Action::Forward(rule) => {
            let request = (head, body);
            forward::forward(connection, view, bound, rule, request, record, overrides).await
        }
    }
}

/// Why nothing takes a request.
fn no_route(method: &Method) -> Failure {
    if *method == Method::CONNECT {
        connect::REFUSED
    } else {
        Failure::NoRoute
    }
}

fn direct(rule: &DirectResponse) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(rule.body.clone()));
    *response.status_mut() = rule.status;
    *response.headers_mut() = rule.headers.clone();
    response
}

fn redirect(
    https: bool,
    route: &Route,
    rule: &Redirect,
    target: &Target<'_>,
) -> Result<Response<ResponseBody>, Failure> {
    let origin = rewrite::Origin {
        https,
        authority: target.authority,
        path: &target.path,
    };
    let location = rewrite::location(rule, &route.path, origin)
        .map_err(|_| Failure::BadRequest("the target has no place in a Location"))?;
    let mut response = Response::new(ResponseBody::Full(None));
    *response.status_mut() = rule.status;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
