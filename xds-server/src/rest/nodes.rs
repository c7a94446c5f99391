//! The fleet: what each node has, and waiting until a revision is live.

use std::time::Duration;

use axum::response::Response;
use fleetway_api::{
    proto::Duration as TextDuration,
    rest::{Page, RevisionStatus, Share},
};
use http::StatusCode;
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Call,
    failure::Failure,
    input::{Faults, NoParams, params},
    list::{page, write_token},
    reply::reply,
    revisions,
};

/// The longest a status request waits.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(300);
/// How soon after a look at the fleet the next one may be: a thousand nodes that acknowledge at
/// once are looked at together.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
const LIST: &str = "nodes";

/// `GET /v1/nodes`: by id.
pub(super) fn list(call: &Call) -> Result<Response, Failure> {
    let (size, after) = page::<String>(&call.parts, LIST)?;
    let mut nodes = call.app.fleet.nodes();
    nodes.sort_by(|one, two| one.id.cmp(&two.id));
    if let Some(after) = after {
        nodes.retain(|node| node.id > after);
    }
    let more = nodes.len() > size;
    nodes.truncate(size);
    let page = Page {
        next_page_token: nodes
            .last()
            .filter(|_| more)
            .map(|last| write_token(LIST, &last.id)),
        items: nodes,
        revision: call.app.committer.snapshot().revision(),
    };
    reply(StatusCode::OK, call.format, &page)
}

/// `GET /v1/nodes/{id}`
pub(super) fn get(call: &Call) -> Result<Response, Failure> {
    params::<NoParams>(&call.parts)?;
    let id = &call.target;
    let node = call.app.fleet.node(id).ok_or_else(|| {
        Failure::NotFound(format!(
            "there is no node \"{id}\", connected or gone not long ago"
        ))
    })?;
    reply(StatusCode::OK, call.format, &node)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusParams {
    wait: Option<String>,
    nodes: Option<String>,
}

/// `GET /v1/revisions/{n}/status`: returns once the share is live, once it cannot come live, or at
/// the time-out.
pub(super) async fn status(call: Call) -> Result<Response, Failure> {
    let mut faults = Faults::default();
    let StatusParams { wait, nodes } = faults.params(&call.parts).unwrap_or_default();
    let wait = wait.as_deref().map_or(Ok(Duration::ZERO), read_wait);
    let wait = faults.take(wait, Duration::ZERO)?;
    let share = nodes.as_deref().unwrap_or("all").parse();
    let share = share.map_err(|error: String| Failure::bad("nodes", error));
    let share = faults.take(share, Share::default())?;
    faults.check()?;
    let number = revisions::number(&call.target)?;
    if number == 0 || number > call.app.committer.snapshot().revision() {
        return Err(revisions::unknown(number));
    }
    let fleet = &call.app.fleet;
    let look = || {
        let mut status = fleet.status(number);
        status.live = share.is_met(&status);
        status
    };
    let stopping = call.app.stopping.cancelled();
    let status = tokio::select! {
        status = until_settled(look, fleet.changed(), Instant::now() + wait) => status,
        () = stopping => {
            // What is settled is told; that it will not be is no time-out.
            let status = look();
            if !(status.live || status.refused || wait.is_zero()) {
                return Err(Failure::Stopping);
            }
            status
        }
    };
    reply(StatusCode::OK, call.format, &status)
}

/// Looks again on every change until it is live, until all that wait refused it, or until the time
/// is over.
async fn until_settled(
    look: impl Fn() -> RevisionStatus,
    mut changes: watch::Receiver<u64>,
    deadline: Instant,
) -> RevisionStatus {
    loop {
        changes.mark_unchanged();
        let status = look();
        if status.live || status.refused {
            return status;
        }
        match timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => sleep_until(deadline.min(Instant::now() + BETWEEN_LOOKS)).await,
            // The time is over, or nothing will tell of changes any more.
            Ok(Err(_)) | Err(_) => return status,
        }
    }
}

fn read_wait(text: &str) -> Result<Duration, Failure> {
    let bad = |message: String| Failure::bad("wait", message);
    let wait: TextDuration = text
        .parse()
        .map_err(|error| bad(format!("\"{text}\": {error}")))?;
    match Duration::try_from(wait) {
        Ok(wait) if wait <= MAX_WAIT => Ok(wait),
        _ => Err(bad("must be at most 5m".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(nodes_live: usize) -> RevisionStatus {
        RevisionStatus {
            revision: 1,
            live: nodes_live >= 2,
            nodes: 2,
            nodes_live,
            waiting: Vec::new(),
            refused: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_enough_nodes_are_live() {
        let (sender, changes) = watch::channel(0);
        let look = || status(usize::try_from(*sender.borrow()).unwrap());
        let started = Instant::now();
        let deadline = started + Duration::from_secs(60);
        let (found, ()) = tokio::join!(until_settled(look, changes, deadline), async {
            for live in [1, 2] {
                sleep_until(started + Duration::from_secs(live)).await;
                sender.send_replace(live);
            }
        });
        assert!(found.live && found.nodes_live == 2);
        assert!(started.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_time_out_and_says_so() {
        let (_sender, changes) = watch::channel(0);
        let started = Instant::now();
        let deadline = started + Duration::from_secs(30);
        let found = until_settled(|| status(1), changes, deadline).await;
        assert!(!found.live);
        assert_eq!(started.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_all_that_wait_refused_it() {
        let (sender, changes) = watch::channel(0);
        let look = || RevisionStatus {
            refused: *sender.borrow() > 0,
            ..status(1)
        };
        let started = Instant::now();
        let deadline = started + Duration::from_secs(60);
        let (found, ()) = tokio::join!(until_settled(look, changes, deadline), async {
            sleep_until(started + Duration::from_secs(1)).await;
            sender.send_replace(1);
        });
        assert!(found.refused && !found.live);
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_wait_is_a_duration_of_at_most_five_minutes() {
        assert_eq!(read_wait("1m30s").ok(), Some(Duration::from_secs(90)));
        assert_eq!(read_wait("5m").ok(), Some(MAX_WAIT));
        for bad in ["301s", "5", "", "-1s", "soon"] {
            assert!(read_wait(bad).is_err(), "{bad}");
        }
    }
}
