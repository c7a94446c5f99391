//! Sending a request again, as its policies want it.

use std::{net::SocketAddr, time::Duration};

use fleetway_policy_runtime::Retries;
use http::{Response, StatusCode, header, request::Parts};

use super::{Local, RequestBody, body::ToClient, forward::count_failure};
use crate::{
    proxy_protocol::Addresses,
    upstream::{self, To, UpstreamBody, UpstreamError},
};

/// The longest pause before the first time; it doubles with each.
const PAUSE: Duration = Duration::from_millis(25);
/// The longest there is.
const PAUSE_MAX: Duration = Duration::from_millis(250);

type Sent = Result<Response<UpstreamBody<RequestBody, ToClient>>, UpstreamError>;

/// A request that can be sent again.
#[derive(Debug)]
pub(super) struct Again {
    retries: Retries,
    head: Parts,
    body: RequestBody,
}

impl Again {
    /// A request as it is sent; none where it can be sent only once. Boxed: most are.
    pub(super) fn of(retries: Retries, head: &Parts, body: &RequestBody) -> Option<Box<Self>> {
        if head.headers.contains_key(header::UPGRADE) {
            return None;
        }
        Some(Box::new(Self {
            retries,
            body: body.again()?,
            head: head.clone(),
        }))
    }

    /// Sends the request, and again for as often as there is a reason: to the `next` endpoint,
    /// which `tried` is told of.
    pub(super) async fn send(
        self: Box<Self>,
        local: &Local,
        to: To<'_>,
        client: impl Fn() -> Addresses,
        (head, body, interim): (&mut Parts, RequestBody, ToClient),
        next: impl Fn() -> SocketAddr,
        mut tried: impl FnMut(SocketAddr),
    ) -> Sent {
        let shard = to.cluster.counters.shard(to.worker);
        let mut sent = upstream::send(to, &client, head, body, interim.clone()).await;
        for pause in pauses().take(self.retries.count.try_into().unwrap_or(usize::MAX)) {
            if !is_reason(&self.retries, &sent) {
                break;
            }
            match &sent {
                Ok(response) => shard.responses.count(response.status()),
                Err(error) => count_failure(error, to.cluster, to.worker),
            }
            let Some(body) = self.body.again() else {
                break;
            };
            // What is left of it is not waited for.
            drop(sent);
            let most = u32::try_from(pause.as_micros()).unwrap_or(u32::MAX);
            let pause = Duration::from_micros(local.random_below(most).into());
            tokio::time::sleep(pause).await;
            shard.retries.increment();
            let to = To {
                endpoint: next(),
                ..to
            };
            tried(to.endpoint);
            head.clone_from(&self.head);
            sent = upstream::send(to, &client, head, body, interim.clone()).await;
        }
        sent
    }
}

/// The longest pauses, one after the other.
fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(PAUSE), |pause| Some((*pause * 2).min(PAUSE_MAX)))
}

fn is_reason(retries: &Retries, sent: &Sent) -> bool {
    match sent {
        Ok(response) => {
            retries.gateway_error
                && matches!(
                    response.status(),
                    StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                )
        }
        Err(
            UpstreamError::Connect(..)
            | UpstreamError::ConnectTimeout(_)
            | UpstreamError::Tls(..)
            | UpstreamError::Unprocessed(_),
        ) => retries.connect_failure,
        Err(UpstreamError::Broken(..)) => retries.reset,
        Err(UpstreamError::NoUpgrade(_) | UpstreamError::RequestBody(_)) => false,
    }
}
