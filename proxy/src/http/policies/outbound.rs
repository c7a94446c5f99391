//! Requests of policies' own, over the connections of the worker whose request they are called for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    rc::{Rc, Weak},
    sync::Arc,
};

use bytes::Bytes;
use fleetway_policy_runtime::{Outbound as Trait, SendError, Sending, Sent};
use http::{HeaderMap, Request, Response, StatusCode};
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

/// Where a worker's policies leave their requests: what policies run in can move between threads,
/// connections cannot.
#[derive(Debug)]
pub struct Outbound(mpsc::UnboundedSender<Job>);

#[derive(Debug)]
struct Job {
    sending: Sending,
    reply: oneshot::Sender<Result<Response<Bytes>, SendError>>,
}

impl Trait for Outbound {
    fn send(&self, sending: Sending) -> Sent {
        // Bounded by the calls there are: each waits for its own.
        let (reply, answer) = oneshot::channel();
        let left = self.0.send(Job { sending, reply });
        Box::pin(async move {
            let gone = || SendError::Failed("the proxy is shutting down".into());
            left.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        })
    }
}

impl Outbound {
    /// Begins to send what is left with it.
    pub(in crate::http) fn start(local: &Rc<Local>) -> Arc<Self> {
        let (jobs, mut left) = mpsc::unbounded_channel::<Job>();
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
    let failed = |why: &str| SendError::Failed(why.to_owned());
    let snapshot = local.snapshot();
    let slot = snapshot.slot(&sending.cluster);
    let slot = slot.ok_or_else(|| failed("the cluster is gone"))?;
    let cluster = snapshot.cluster(slot);
    let cluster = cluster.ok_or_else(|| failed("the cluster is gone"))?;
    let endpoint = local.pick(cluster, slot);
    let endpoint = endpoint.ok_or_else(|| failed("the cluster has no endpoint"))?;
    let began = Instant::now();
    let mut in_flight = InFlight::new(cluster.clone(), local.worker, began);
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
    let request: Request<Full<Bytes>> = sending.request.map(Full::new);
    let exchanged = async {
        let response = upstream::send(to, nobodys, request, Nobody).await;
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
