//! The stages before the upstream.

use std::{cell::Cell, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, time::Duration};

use fleetway_api::{Action, BodyAccess, Forward};
use fleetway_policy_runtime::{Decision, Exchange, Hint, Retries, Stage, Upstream};
use http::{HeaderValue, Method, Response, request::Parts};

use super::{Passage, answer, body, rules, set_length};
use crate::{
    http::{
        Connection, Downstream, Failure, Record, ResponseBody,
        exchange::{act, choose},
        grpc,
        local::View,
        target::Target,
        watchdog::Watchdog,
    },
    policy::{Attached, Rule},
    route::{Routed as _, rewrite},
    snapshot::{BoundRoute, Slot},
};

/// What policies want otherwise than the route has it.
#[derive(Debug, Default)]
pub(in crate::http) struct Overrides {
    /// The cluster.
    pub(in crate::http) slot: Option<Slot>,
    /// The time for the whole exchange.
    pub(in crate::http) timeout: Option<Duration>,
    /// The authority the upstream sees.
    pub(in crate::http) authority: Option<HeaderValue>,
    /// How often and for what it is sent again.
    pub(in crate::http) retries: Option<Retries>,
    /// The endpoint it was sent to, once it was.
    pub(in crate::http) endpoint: Cell<Option<SocketAddr>>,
    /// Why the body ended early, if a policy was the cause.
    pub(in crate::http) fault: body::Fault,
}

/// A request on its way.
pub(in crate::http) struct Way<'a> {
    pub(in crate::http) connection: &'a Connection,
    pub(in crate::http) view: &'a Rc<View>,
    pub(in crate::http) passage: &'a mut Passage,
    /// The route it goes by, once there is one.
    pub(in crate::http) bound: Option<Arc<BoundRoute>>,
    /// What its policies want otherwise than that has it.
    pub(in crate::http) overrides: Overrides,
}

type Answered = Result<Response<ResponseBody>, Failure>;

/// Whether the request goes on, or this is its answer.
enum Next {
    Go,
    Answer(Response<ResponseBody>),
}

impl Way<'_> {
    /// Takes a request through its policies and has it answered.
    pub(in crate::http) async fn go(
        &mut self,
        head: &mut Parts,
        body: Downstream,
        record: &mut Record,
    ) -> Answered {
        let answered = self.before_upstream(head, body, record).await;
        if let Some(bound) = &self.bound {
            self.passage.exchange = self.exchange(bound, record);
        }
        // Where it was sent, what was sent is there already.
        let passed = || std::mem::replace(head, super::nothing());
        self.passage.head.get_or_insert_with(passed);
        answered
    }

    async fn before_upstream(
        &mut self,
        head: &mut Parts,
        body: Downstream,
        record: &mut Record,
    ) -> Answered {
        let listener = self.view.listener.policies.clone();
        let listener = listener.as_deref();
        let mut hint = Hint::default();
        let first = rules([listener, None], Stage::PreRoute);
        if let Next::Answer(answer) = self.pre_route(first, head, &mut hint).await? {
            return Ok(answer);
        }
        self.passage.hint.overlay(hint);
        let mut bound = self.choose(head)?;
        let own = bound.policies().map(Arc::as_ref);
        if own.is_some_and(|own| !own.of(Stage::PreRoute).is_empty()) {
            let mut hint = Hint::default();
            let own = rules([None, own], Stage::PreRoute);
            if let Next::Answer(answer) = self.pre_route(own, head, &mut hint).await? {
                return Ok(answer);
            }
            self.passage.hint.overlay(hint);
            let next = self.choose(head)?;
            if let Next::Answer(answer) = self.move_to(&bound, &next, head).await? {
                return Ok(answer);
            }
            bound = next;
        }
        self.send(bound, listener, head, body, record).await
    }

    /// Has a request that is moved from one route to another pass the policies of that one before
    /// any match. Where they want it to go has no weight any more.
    async fn move_to(
        &mut self,
        from: &Arc<BoundRoute>,
        to: &Arc<BoundRoute>,
        head: &mut Parts,
    ) -> Result<Next, Failure> {
        if from.route().common.name == to.route().common.name {
            return Ok(Next::Go);
        }
        let own = rules([None, to.policies().map(Arc::as_ref)], Stage::PreRoute);
        self.pre_route(own, head, &mut Hint::default()).await
    }

    async fn pre_route(
        &mut self,
        rules: impl Iterator<Item = &Rule>,
        head: &mut Parts,
        hint: &mut Hint,
    ) -> Result<Next, Failure> {
        for rule in rules {
            let Some(mut begun) = self.passage.begin(rule, Stage::PreRoute, head).await? else {
                continue;
            };
            let went = begun.call.pre_route().await;
            let decision = self.passage.settle(&mut begun, head, went, is_answer)?;
            match decision {
                None | Some(Decision::Continue) => {}
                Some(Decision::Reroute(wanted)) => hint.overlay(wanted),
                Some(Decision::Respond(made)) => return Ok(Next::Answer(answer(made))),
            }
        }
        Ok(Next::Go)
    }

    /// The route that takes it as it is now.
    fn choose(&mut self, head: &Parts) -> Result<Arc<BoundRoute>, Failure> {
        let hint = &self.passage.hint;
        let bound = match &hint.route {
            Some(name) => self
                .view
                .snapshot
                .route_on(&self.view.listener, name)
                .ok_or(Failure::NoSuchRoute)?,
            None => choose(self.view, head, &hint.tags)?.clone(),
        };
        let route = bound.route().common.name.shared();
        self.passage.notebook.goes_by(route.clone());
        self.bound = Some(bound.clone());
        Ok(bound)
    }

    /// The cluster it goes to.
    fn cluster(&self, bound: &BoundRoute) -> Result<Slot, Failure> {
        match &self.passage.hint.cluster {
            Some(name) => self.view.snapshot.slot(name).ok_or(Failure::NoSuchCluster),
            None => {
                let local = &self.connection.local;
                let slot = bound.targets().choose(|total| local.random_below(total));
                slot.ok_or(Failure::NoEndpoint)
            }
        }
    }

    /// Has it pass the policies that see where it goes, and sends it there.
    async fn send(
        &mut self,
        mut bound: Arc<BoundRoute>,
        listener: Option<&Attached>,
        head: &mut Parts,
        mut body: Downstream,
        record: &mut Record,
    ) -> Answered {
        let mut listener = listener;
        let mut may_move = true;
        record.matched(self.connection, self.view, &bound);
        if head.method == Method::CONNECT && self.passage.hint.cluster.is_some() {
            self.overrides.slot = Some(self.cluster(&bound)?);
        }
        while let Action::Forward(rule) = &bound.route().action
            && head.method != Method::CONNECT
        {
            let slot = self.cluster(&bound)?;
            self.overrides.slot = Some(slot);
            let of = [listener, bound.policies().map(Arc::as_ref)];
            if rules(of, Stage::PreUpstream).next().is_none() {
                break;
            }
            let mut to = self.upstream(&bound, rule, slot, head)?;
            to.set_timeout = self.overrides.timeout;
            to.set_authority = self.overrides.authority.take();
            to.set_retries = self.overrides.retries;
            let mut stage = Upstreams {
                passage: self.passage,
                rule,
                began: record.began(),
                fault: self.overrides.fault.clone(),
                hint: None,
            };
            let next = stage.pre_upstream(of, head, &mut body, &mut to).await?;
            let hint = stage.hint;
            self.overrides.timeout = to.set_timeout;
            self.overrides.authority = to.set_authority.take();
            self.overrides.retries = to.set_retries;
            if let Next::Answer(answer) = next {
                return Ok(answer);
            }
            let Some(hint) = hint.filter(|_| may_move) else {
                break;
            };
            may_move = false;
            self.passage.hint.overlay(hint);
            let next = self.choose(head)?;
            if next.route().common.name == bound.route().common.name {
                self.overrides.slot = match &next.route().action {
                    Action::Forward(_) => Some(self.cluster(&next)?),
                    _ => None,
                };
                break;
            }
            if let Next::Answer(answer) = self.move_to(&bound, &next, head).await? {
                return Ok(answer);
            }
            // Those of the listener it has passed.
            listener = None;
            bound = next;
            record.matched(self.connection, self.view, &bound);
        }
        self.passage.head = Some(head.clone());
        let overrides = Some(&self.overrides);
        act(
            self.connection,
            self.view,
            &bound,
            head,
            body,
            record,
            overrides,
        )
        .await
    }

    /// How its response came to be.
    fn exchange(&self, bound: &BoundRoute, record: &Record) -> Exchange {
        let endpoint = self.overrides.endpoint.get();
        let cluster = self.overrides.slot.filter(|_| endpoint.is_some());
        let cluster = cluster.and_then(|slot| self.view.snapshot.cluster(slot));
        Exchange {
            route: Some(bound.route().common.name.to_string()),
            cluster: cluster.map(|cluster| cluster.name.to_string()),
            endpoint,
            duration: record.began().elapsed(),
        }
    }

    /// What policies are told of where it goes.
    fn upstream(
        &self,
        bound: &BoundRoute,
        rule: &Forward,
        slot: Slot,
        head: &Parts,
    ) -> Result<Box<Upstream>, Failure> {
        let route = &bound.route().common;
        let cluster = self
            .view
            .snapshot
            .cluster(slot)
            .ok_or(Failure::NoEndpoint)?;
        let target = Target::of(head)?;
        let path = rewrite::upstream_path(rule, &bound.route().path, &target.path)
            .map_err(|_| Failure::BadRequest("the rewritten path is no path"))?;
        let authority = match rule.host() {
            Some(host) => host.to_str().unwrap_or_default(),
            None => target.authority,
        };
        let label = |(key, value): (&String, &String)| (key.clone(), value.clone());
        Ok(Box::new(Upstream {
            route: route.name.to_string(),
            labels: route.labels.iter().map(label).collect(),
            cluster: cluster.name.to_string(),
            authority: authority.to_owned(),
            path_with_query: path.as_ref().unwrap_or(&target.path).as_str().to_owned(),
            set_authority: None,
            set_timeout: None,
            set_retries: None,
        }))
    }
}

fn is_answer(decision: &Decision) -> bool {
    matches!(decision, Decision::Respond(_))
}

/// The stage at which it is known where a request goes.
struct Upstreams<'a> {
    passage: &'a mut Passage,
    rule: &'a Forward,
    began: tokio::time::Instant,
    fault: body::Fault,
    /// Where they want it to go instead.
    hint: Option<Hint>,
}

impl Upstreams<'_> {
    async fn pre_upstream(
        &mut self,
        of: [Option<&Attached>; 2],
        head: &mut Parts,
        body: &mut Downstream,
        to: &mut Box<Upstream>,
    ) -> Result<Next, Failure> {
        for rule in rules(of, Stage::PreUpstream) {
            let held = match rule.body {
                BodyAccess::Buffered { max } => Some(self.collect(body, head, max).await?),
                _ => None,
            };
            let kept = held.clone();
            let Some(mut begun) = self.passage.begin(rule, Stage::PreUpstream, head).await? else {
                body::hold(body, kept);
                continue;
            };
            let went = begun.call.pre_upstream(to.clone(), held).await;
            let (after, held) = (begun.call.take_upstream(), begun.call.take_body());
            let decision = self.passage.settle(&mut begun, head, went, is_answer)?;
            let Some(decision) = decision else {
                body::hold(body, kept);
                continue;
            };
            if let Some(after) = after {
                *to = after;
            }
            match decision {
                Decision::Continue => {}
                Decision::Reroute(wanted) => self.hint.get_or_insert_default().overlay(wanted),
                Decision::Respond(made) => return Ok(Next::Answer(answer(made))),
            }
            if let Some(held) = held {
                if held.replaced {
                    let length = held.trailers.is_none().then_some(held.bytes.len());
                    set_length(&mut head.headers, length);
                }
                body::hold(body, Some(held));
            }
            if rule.body == BodyAccess::Streamed && begun.call.transforms(Stage::PreUpstream) {
                let none = http_body::Body::is_end_stream(body);
                let transform = begun.call.into_transform(Stage::PreUpstream);
                if !none {
                    set_length(&mut head.headers, None);
                    body::transform(body, transform, rule, &self.fault, self.passage.about());
                } else {
                    rule.unit.shared.counts.succeeded();
                }
            }
        }
        Ok(Next::Go)
    }

    /// The whole body, under the clocks of the route.
    async fn collect(
        &self,
        body: &mut Downstream,
        head: &Parts,
        max: u32,
    ) -> Result<fleetway_policy_runtime::Buffered, Failure> {
        let route = self.rule.max_request_body.unwrap_or(u32::MAX);
        let timeout = grpc::timeout(head.into(), self.rule.timeout);
        let mut watchdog = Watchdog::since(self.began, timeout, self.rule.idle_timeout);
        let activity = watchdog.activity();
        let collecting = pin!(body::collect(body, max.min(route), &activity));
        let collected = watchdog.guard(collecting).await;
        let collected = collected.map_err(Failure::Timeout)?;
        collected.map_err(|failure| self.fault.take().unwrap_or(failure))
    }
}
