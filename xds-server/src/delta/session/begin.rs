//! What a push consists of, worked out when it begins.

use fleetway_api::{
    Kind,
    proto::{type_url, v1},
};
use prost::Message as _;

use super::{Session, Tracked};
use crate::{
    delta::{
        diff::{Delta, View, diff},
        push::{Part, Push},
        request::BARRIER_NAME,
        subscription::Owed,
    },
    snapshot::{Snapshot, frame},
};

impl Session {
    /// A push of a whole revision: what changed, kind by kind, then the barrier.
    pub(super) fn begin_whole(&mut self, now_ms: i64) -> Option<Push> {
        let new = &self.snapshot;
        let fleet = self.identity.as_ref()?.fleet.as_str();
        let revision = self.revision.as_mut()?;
        let owes = |tracked: &Tracked| !tracked.subscription.owed().is_empty();
        if self.confirmed == Some(new.revision())
            && revision.owed().names.is_empty()
            && !revision.owed().all
            && !self.kinds.iter().flatten().any(owes)
        {
            return None;
        }
        let mut push = Push::new(new.clone(), false, now_ms);
        for (kind, tracked) in Kind::ALL.into_iter().zip(&mut self.kinds) {
            let Some(tracked) = tracked else { continue };
            let (owed, delta) = tracked.take_delta(kind, fleet, new);
            let part = Part::new(kind, delta.all, delta.upserts, false)
                .and_removed(delta.removed)
                .and_removed(delta.absent);
            if !part.is_empty() {
                push.parts.push_back(part);
            }
            push.taken.push((kind, owed));
        }
        let owed = revision.take_owed().names.into_keys();
        let absent = owed.filter(|name| &**name != BARRIER_NAME);
        let barrier = Part::barrier(barrier_frame(new)).and_removed(absent);
        push.parts.push_back(barrier);
        Some(push)
    }

    /// A push that makes before it breaks: what others refer to, then what refers to it,
    /// and only then the removals of the former. A kind with nothing to send is up to date as it is.
    pub(super) fn begin_stepwise(&mut self, now_ms: i64) -> Option<Push> {
        let new = &self.snapshot;
        let fleet = self.identity.as_ref()?.fleet.as_str();
        let mut push = Push::new(new.clone(), true, now_ms);
        let mut last = Vec::new();
        for (kind, tracked) in Kind::ALL.into_iter().zip(&mut self.kinds) {
            let Some(tracked) = tracked else { continue };
            let (Owed { answer, .. }, delta) = tracked.take_delta(kind, fleet, new);
            // What is refused of it comes back as owed.
            tracked.base = new.clone();
            if delta.is_empty() && !answer {
                tracked.acknowledged = Some(new.revision());
                continue;
            }
            let mut part =
                Part::new(kind, delta.all, delta.upserts, answer).and_removed(delta.absent);
            if !matches!(kind, Kind::Listener | Kind::Route) {
                last.push(Part::new(kind, false, Vec::new(), false).and_removed(delta.removed));
            } else {
                part = part.and_removed(delta.removed);
            }
            push.parts.push_back(part);
        }
        push.parts.extend(last.into_iter().rev());
        push.parts.retain(|part| !part.is_empty());
        (!push.parts.is_empty()).then_some(push)
    }
}

impl Tracked {
    /// Takes what the client is owed: that, and all it needs to hold `new`.
    fn take_delta(&mut self, kind: Kind, fleet: &str, new: &Snapshot) -> (Owed, Delta) {
        let owed = self.subscription.take_owed();
        let view = View {
            kind,
            fleet,
            subscription: &self.subscription,
        };
        let delta = diff(&view, &self.base, &owed, new);
        (owed, delta)
    }
}

/// The barrier of a state, as a resource.
fn barrier_frame(snapshot: &Snapshot) -> bytes::Bytes {
    let barrier = v1::Revision {
        number: snapshot.revision(),
        time_ms: snapshot.time_ms(),
        ..v1::Revision::default()
    };
    let value = barrier.encode_to_vec();
    let version = snapshot.history().position(snapshot.revision());
    frame(
        type_url::REVISION,
        BARRIER_NAME,
        &version.to_string(),
        &value,
    )
    .0
}
