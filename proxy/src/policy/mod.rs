//! Policies where they are attached: what is called for a request, and what becomes of one they fail
//! for.

mod programs;

use std::sync::Arc;

use fleetway_api::{BodyAccess, OnFailure};
use fleetway_policy_runtime::{Stage, Unit};
pub use programs::{Programs, Settings};

/// A policy where it is attached.
#[derive(Debug)]
pub struct Rule {
    /// What is called.
    pub unit: Arc<Unit>,
    /// How it meets bodies.
    pub body: BodyAccess,
    /// What becomes of a request it fails for.
    pub on_failure: OnFailure,
}

impl Rule {
    /// What there is to know when it fails.
    #[must_use]
    pub fn parts(&self) -> (&Unit, &OnFailure) {
        (&self.unit, &self.on_failure)
    }
}

/// The policies of a route or a listener, by stage and in order.
#[derive(Debug, Default)]
pub struct Attached([Box<[Rule]>; Stage::ALL.len()]);

impl Attached {
    /// Those of a stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &[Rule] {
        self.0.get(stage.index()).map_or(&[], |rules| rules)
    }
}

/// The runtime's word for a stage.
const fn stage(stage: fleetway_api::Stage) -> Stage {
    match stage {
        fleetway_api::Stage::PreRoute => Stage::PreRoute,
        fleetway_api::Stage::PreUpstream => Stage::PreUpstream,
        fleetway_api::Stage::PostResponse => Stage::PostResponse,
    }
}
