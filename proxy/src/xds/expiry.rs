//! Tells when something in a secret in force is of no use, above all when it is past its time: it
//! goes on being used, so nothing else would say so here.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use fleetway_api::{Kind, Resource, Secret};
use tokio::time::sleep;

use super::{held::Held, status::Status};

/// The longest time between two looks: the wall clock, which certificates go by, can be set.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Warns of each certificate and revocation list in force that has expired, and of authorities their
/// lists leave out, when it comes into force or when it expires, once. Ends with the last handle on
/// the status.
pub async fn warn_of_useless(status: Status) {
    let mut reports = status.subscribe();
    let mut told = BTreeSet::new();
    loop {
        reports.borrow_and_update();
        let (useless, wait) = look(&status.held(), SystemTime::now());
        for (secret, what) in useless.difference(&told) {
            tracing::warn!(%secret, "of no use, and in force all the same: {what}");
        }
        told = useless;
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep(wait) => {}
        }
    }
}

/// What is of no use, each by its secret with what is to be said of it, and how long to wait for
/// the next that may have.
fn look(held: &Held, now: SystemTime) -> (BTreeSet<(String, String)>, Duration) {
    let mut useless = BTreeSet::new();
    let mut wait = LONGEST_WAIT;
    for (name, entry) in held.resources().of(Kind::Secret) {
        let Resource::Secret(secret) = &entry.resource else {
            continue;
        };
        let faults = secret.unusable(now).into_iter();
        useless.extend(faults.map(|fault| (name.to_string(), fault.message)));
        let left = ends(secret).filter_map(|end| end.duration_since(now).ok());
        // Expired is what is past its end: a moment later.
        let next = left.min().map(|left| left + Duration::from_millis(1));
        wait = wait.min(next.unwrap_or(LONGEST_WAIT));
    }
    (useless, wait)
}

fn ends(secret: &Secret) -> impl Iterator<Item = SystemTime> {
    let certificates = secret.facts().iter().map(|facts| facts.not_after);
    certificates.chain(secret.crls().iter().map(|facts| facts.next_update))
}
