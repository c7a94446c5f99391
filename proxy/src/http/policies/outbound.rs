//! Requests of policies' own, over the connections of the worker whose request they are called for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    rc::{Rc, Weak},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use dashmap::DashMap;
use fleetway_policy_runtime::{Outbound as Trait, SendError, Sending, Sent};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    http::{Local, forward::count_failure, headers},
    proxy_protocol::Addresses,
    upstream::{self, InFlight, Notify},
};

/// The most that wait to be taken up: more than there are calls, and each waits for its own.
const JOBS: usize = 1024;

/// Where a worker's policies leave their requests: what policies run in can move between threads,
/// connections cannot.
#[derive(Debug)]
pub struct Outbound(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    sending: Sending,
    reply: oneshot::Sender<Result<Response<Bytes>, SendError>>,
}

impl Trait for Outbound {
    fn send(&self, sending: Sending) -> Sent {
        let (reply, answer) = oneshot::channel();
        let left = self.0.try_send(Job { sending, reply });
        Box::pin(async move {
            let failed = |why: &str| SendError::Failed(why.to_owned());
            left.map_err(|_| failed("there are too many at once"))?;
            let answer = answer.await;
            answer.map_err(|_| failed("the proxy is shutting down"))?
        })
    }
}

impl Outbound {
    /// Begins to send what is left with it.
    pub(in crate::http) fn start(local: &Rc<Local>) -> Arc<Self> {
        let (jobs, mut left) = mpsc::channel::<Job>(JOBS);
        let local: Weak<Local> = Rc::downgrade(local);
        tokio::task::spawn_local(async move {
            while let Some(job) = left.recv().await {
                if let Some(local) = local.upgrade() {
                    tokio::task::spawn_local(job.run(local));
                }
            }
        });
        Arc::new(Self(jobs))
    }
}

impl Job {
    async fn run(self, local: Rc<Local>) {
        let Self { sending, mut reply } = self;
        let answered = tokio::select! {
            biased;
            answered = send(&local, sending) => answered,
            // The call has ended, as where its client went away.
            () = reply.closed() => return,
        };
        // Nobody waits for it any more, if so.
        let _ = reply.send(answered);
    }
}

/// The requests of policies that are on their way, by the id they bear. One that comes back here is
/// known by it: nobody else knows the id.
static SENT: LazyLock<DashMap<HeaderValue, Led>> = LazyLock::new(DashMap::new);

/// What is on its way with one id.
#[derive(Debug, Default)]
struct Led {
    /// How many have led to each other.
    hops: u32,
    /// How many there are: a client can give several requests the same id.
    there: u32,
}

/// How many requests of policies of this proxy have led to the request of this id.
pub(super) fn hops(id: &HeaderValue) -> u32 {
    SENT.get(id).map_or(0, |led| led.hops)
}

/// A request that is on its way.
struct OnItsWay(HeaderValue);

impl OnItsWay {
    /// None where it bears no id: it cannot come back as one of its kind.
    fn begin(sending: &Sending) -> Option<Self> {
        let id = sending.request.headers().get(headers::X_REQUEST_ID)?;
        let mut led = SENT.entry(id.clone()).or_default();
        led.hops = led.hops.max(sending.hops);
        led.there += 1;
        Some(Self(id.clone()))
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        SENT.remove_if_mut(&self.0, |_, led| {
            led.there -= 1;
            led.there == 0
        });
    }
}

/// Nobody is told of interim responses.
#[derive(Debug, Clone)]
struct Nobody;

impl Notify for Nobody {
    fn interim(&self, _: StatusCode, _: &HeaderMap) {}
}

/// It is no client's.
fn nobodys() -> Addresses {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Addresses {
        source: nowhere,
        destination: nowhere,
    }
}

async fn send(local: &Local, sending: Sending) -> Result<Response<Bytes>, SendError> {
    let _on_its_way = OnItsWay::begin(&sending);
    let failed = |why: &str| SendError::Failed(why.to_owned());
    let snapshot = local.snapshot();
    let slot = snapshot.slot(&sending.cluster);
    let slot = slot.ok_or_else(|| failed("the cluster is gone"))?;
    let cluster = snapshot.cluster(slot);
    let cluster = cluster.ok_or_else(|| failed("the cluster is gone"))?;
    let endpoint = local.pick(cluster, slot);
    let endpoint = endpoint.ok_or_else(|| failed("the cluster has no endpoint"))?;
    let began = Instant::now();
    let mut in_flight = InFlight::new(cluster, local.worker, began);
    let shard = cluster.counters.shard(local.worker);
    let pool = match cluster.proxy_protocol {
        // Connections that say whom they are for are for nobody else.
        Some(_) => &local.pool.of_client(),
        None => &local.pool,
    };
    let to = upstream::To {
        worker: local.worker,
        pool,
        cluster,
        endpoint,
    };
    let (mut head, body) = sending.request.into_parts();
    let exchanged = async {
        let response = upstream::send(to, nobodys, &mut head, Full::new(body), Nobody).await;
        let response = response.map_err(|error| {
            count_failure(&error, cluster, local.worker);
            SendError::Failed(error.to_string())
        })?;
        shard.responses.count(response.status());
        let (mut head, body) = response.into_parts();
        headers::remove_hop_by_hop(&mut head.headers);
        let whole = Limited::new(body, sending.max_body).collect().await;
        let whole = whole.map_err(|error| match error.is::<LengthLimitError>() {
            true => SendError::TooLarge,
            false => SendError::Failed(format!("the response broke off: {error}")),
        })?;
        Ok(Response::from_parts(head, whole.to_bytes()))
    };
    let answered = tokio::time::timeout_at(began + sending.timeout, exchanged).await;
    let answered = answered.unwrap_or_else(|_| {
        shard.timeouts.increment();
        Err(SendError::Timeout)
    });
    in_flight.end(Instant::now());
    answered
}
