//! Deletes the components that nothing has referred to for long.

use std::{sync::Arc, time::Duration};

use fleetway_api::{Id, Kind, Name};
use tokio_util::sync::CancellationToken;

use crate::{
    commit::{CommitError, Condition, Operation, Transaction, now_ms},
    rest::App,
    snapshot::Snapshot,
};

/// Who the log says deleted them.
pub const AUTHOR: &str = "fleetway-xds";
/// The longest time until the clock is looked at again, which may have been set.
const LONGEST: Duration = Duration::from_secs(3600);
/// The time to the next attempt after one that failed.
const RETRY: Duration = Duration::from_secs(60);

/// Deletes every component once no policy has named it for `retention`, until `stopping`. All that are
/// due go with one commit.
pub async fn follow(app: Arc<App>, retention: Duration, stopping: CancellationToken) {
    let mut snapshots = app.committer.subscribe();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let (due, mut pause) = due(&snapshot, now_ms(), retention);
        if !due.is_empty() && !delete(app.clone(), due, retention).await {
            pause = RETRY;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The components that are due, and the time until there may be more.
fn due(snapshot: &Snapshot, now: i64, retention: Duration) -> (Vec<Name>, Duration) {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let mut due = Vec::new();
    let mut pause = LONGEST;
    for (name, since) in snapshot.idle() {
        let left = since.saturating_add(retention).saturating_sub(now);
        match u64::try_from(left) {
            Ok(left @ 1..) => pause = pause.min(Duration::from_millis(left)),
            _ => due.push(name.clone()),
        }
    }
    (due, pause)
}

/// Whether it was tried for good: what others did in between is seen with the next state.
async fn delete(app: Arc<App>, due: Vec<Name>, retention: Duration) -> bool {
    let operation = |name| Operation {
        id: Id::new(Kind::Component, name),
        put: None,
        condition: Condition::None,
    };
    let transaction = Transaction {
        author: AUTHOR.to_owned(),
        message: format!("No policy has named it for {retention:?}"),
        operations: due.into_iter().map(operation).collect(),
        ..Transaction::default()
    };
    let count = transaction.operations.len();
    let made = tokio::task::spawn_blocking(move || app.commit(transaction)).await;
    match made {
        Ok(Ok(committed)) => {
            let revision = committed.response.revision;
            tracing::info!(revision, count, "deleted components that no policy names");
            true
        }
        Ok(Err(CommitError::Invalid(_) | CommitError::Unmet(_))) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, count, "components that no policy names cannot be deleted");
            false
        }
        Err(error) => {
            tracing::error!(%error, "deleting components broke off");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::testing::{component_name, next, put};

    #[test]
    fn what_is_idle_for_long_enough_is_due() {
        let first = next(&Arc::default(), &[put(Kind::Component, "a", &[])]);
        let state = next(&first, &[put(Kind::Component, "b", &[])]);
        // The time of a test's revision is its number, in milliseconds.
        let retention = Duration::from_millis(100);
        assert_eq!(
            due(&state, 50, retention),
            (vec![], Duration::from_millis(51))
        );
        let (names, pause) = due(&state, 101, retention);
        assert_eq!(names, [component_name("a")]);
        assert_eq!(pause, Duration::from_millis(1));
        assert_eq!(due(&state, 102, retention).0.len(), 2);
        assert_eq!(due(&Snapshot::default(), 0, retention), (vec![], LONGEST));
    }
}
