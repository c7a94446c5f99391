//! What is asked of a component itself before a commit: whether it is one that proxies can run, and
//! what it says of the configurations it is given.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use fleetway_api::{
    BodyAccess, Component, FieldError, Id, Kind, Name, Policy, PolicyAttachment, PolicyLimits,
    Resource, Stage, proto::v1,
};

use super::CommitError;
use crate::snapshot::Snapshot;

/// Asks components. Calls block and may take long; they come from threads that may.
pub trait Examine: Send + Sync + fmt::Debug {
    /// Looks at a component that is new here. What it is, if proxies can run it.
    ///
    /// # Errors
    /// Why not, each with the remedy.
    fn component(&self, component: &Component) -> Result<v1::ComponentFacts, Vec<String>>;

    /// What the component finds wrong with a configuration of a policy, a JSON object; nothing if it
    /// is good.
    ///
    /// # Errors
    /// Why it cannot be run within these limits.
    fn config(
        &self,
        component: &Component,
        policy: &Name,
        limits: PolicyLimits,
        config: &str,
    ) -> Result<Vec<ConfigFault>, String>;

    /// Whether it can be attached at a stage, with bodies that pass through it if `streamed`.
    ///
    /// # Errors
    /// Why not, with the remedy.
    fn stage(&self, component: &Component, stage: Stage, streamed: bool) -> Result<(), String>;
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where, as a JSON Pointer (RFC 6901): `/fields/0`; empty for the whole.
    pub pointer: String,
    /// What, and the remedy.
    pub message: String,
}

/// Looks at nothing but the length and the preamble.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preamble;

impl Examine for Preamble {
    fn component(&self, component: &Component) -> Result<v1::ComponentFacts, Vec<String>> {
        Component::check_bytes(&component.wasm).map_err(|fault| vec![fault])?;
        Ok(v1::ComponentFacts {
            size: u32::try_from(component.wasm.len()).unwrap_or(u32::MAX),
            ..v1::ComponentFacts::default()
        })
    }

    fn config(
        &self,
        _component: &Component,
        _policy: &Name,
        _limits: PolicyLimits,
        _config: &str,
    ) -> Result<Vec<ConfigFault>, String> {
        Ok(Vec::new())
    }

    fn stage(&self, _component: &Component, _stage: Stage, _streamed: bool) -> Result<(), String> {
        Ok(())
    }
}

/// What a component is asked about a configuration: its name, the policy's, and what it may use.
type Asked = (Name, Name, PolicyLimits, String);

/// What components said in the course of one commit: nobody is asked the same twice.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    configs: HashMap<Asked, Result<Vec<ConfigFault>, String>>,
    stages: HashMap<(Name, Stage, bool), Result<(), String>>,
}

/// A state with changes to it, in which places are looked for.
pub(super) struct View<'a> {
    /// The state before.
    pub(super) before: &'a Snapshot,
    /// The state that is looked at.
    pub(super) state: &'a Snapshot,
    /// What takes the place of what is there.
    pub(super) changes: HashMap<Id, &'a Resource>,
}

/// Where a configuration stands, and what it is.
struct Place {
    resource: Id,
    /// The field the configuration is in, or would be.
    field: String,
    /// The field that is at fault where the component does not run.
    limits: String,
    component: Name,
    policy: Name,
    config: String,
    within: PolicyLimits,
    /// Where the policy is attached: the field of the stage, the stage, and whether bodies pass.
    at: Option<(String, Stage, bool)>,
}

impl View<'_> {
    fn get(&self, kind: Kind, name: &Name) -> Option<&Resource> {
        let id = Id::new(kind, name.clone());
        let there = || self.state.get(&id).map(|entry| &entry.resource);
        self.changes.get(&id).copied().or_else(there)
    }

    fn policy(&self, name: &Name) -> Option<&Policy> {
        match self.get(Kind::Policy, name)? {
            Resource::Policy(policy) => Some(policy),
            _ => None,
        }
    }

    fn before(&self, id: &Id) -> Option<&Resource> {
        self.before.get(id).map(|entry| &entry.resource)
    }

    /// Every fault that components find in the configurations that are new or changed with the
    /// changes. What names something that is not there is passed over: that is another's to tell.
    pub(super) fn faults(&self, examiner: &dyn Examine, known: &mut Verdicts) -> Vec<FieldError> {
        let mut faults = Vec::new();
        for place in self.places() {
            let Some(Resource::Component(component)) = self.get(Kind::Component, &place.component)
            else {
                continue;
            };
            let Place {
                resource, field, ..
            } = &place;
            if let Some((field, stage, streamed)) = &place.at {
                let key = (place.component.clone(), *stage, *streamed);
                let said = known
                    .stages
                    .entry(key)
                    .or_insert_with(|| examiner.stage(component, *stage, *streamed));
                if let Err(fault) = said {
                    faults.push(FieldError::new(resource, field, &*fault));
                    continue;
                }
            }
            let said = known
                .configs
                .entry((
                    place.component.clone(),
                    place.policy.clone(),
                    place.within,
                    place.config.clone(),
                ))
                .or_insert_with_key(|(_, policy, limits, config)| {
                    examiner.config(component, policy, *limits, config)
                });
            match said {
                Ok(said) => faults.extend(said.iter().map(|fault| {
                    let field = format!("{field}{}", fault.pointer);
                    FieldError::new(resource, field, &fault.message)
                })),
                Err(fault) => {
                    let fault = format!("the component does not run: {fault}");
                    faults.push(FieldError::new(resource, &place.limits, fault));
                }
            }
        }
        faults
    }

    /// The configurations that are new or changed, and where they are attached.
    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let mut attached: BTreeSet<&Id> = BTreeSet::new();
        for (id, resource) in &self.changes {
            match resource {
                Resource::Policy(policy) => {
                    if let Some(Resource::Policy(before)) = self.before(id)
                        && before.component == policy.component
                        && before.config == policy.config
                        && before.limits == policy.limits
                        && streams(before) == streams(policy)
                    {
                        continue;
                    }
                    places.push(Place {
                        resource: id.clone(),
                        field: "config".to_owned(),
                        limits: "limits".to_owned(),
                        component: policy.component.clone(),
                        policy: id.name.clone(),
                        config: policy.config.merged(None),
                        within: policy.limits,
                        at: None,
                    });
                    attached.extend(self.state.resources().referrers(id));
                }
                Resource::Route(_) | Resource::Listener(_) => {
                    let before = self.before(id).map(attachments);
                    if before.is_none_or(|(_, before)| before != attachments(resource).1) {
                        attached.insert(id);
                    }
                }
                _ => {}
            }
        }
        for id in attached {
            if let Some(resource) = self.get(id.kind, &id.name) {
                self.of(id, resource, &mut places);
            }
        }
        places.sort_by(|one, two| (&one.resource, &one.field).cmp(&(&two.resource, &two.field)));
        places
    }

    /// The configurations on a route or a listener.
    fn of(&self, id: &Id, resource: &Resource, places: &mut Vec<Place>) {
        let (field, attachments) = attachments(resource);
        for (index, attached) in attachments.iter().enumerate() {
            let Some(policy) = self.policy(&attached.policy) else {
                continue;
            };
            let field = format!("{field}[{index}]");
            places.push(Place {
                resource: id.clone(),
                field: format!("{field}.config"),
                limits: format!("{field}.policy"),
                component: policy.component.clone(),
                policy: attached.policy.clone(),
                config: policy.config.merged(attached.config.as_ref()),
                within: policy.limits,
                at: Some((format!("{field}.stage"), attached.stage, streams(policy))),
            });
        }
    }
}

/// Whether bodies pass through it.
fn streams(policy: &Policy) -> bool {
    policy.body == BodyAccess::Streamed
}

/// The policies on a route or a listener, and their field.
fn attachments(resource: &Resource) -> (&'static str, &[PolicyAttachment]) {
    match resource {
        Resource::Route(route) => ("policies", &route.policies),
        Resource::Listener(listener) => ("http.policies", listener.policies()),
        _ => ("", &[]),
    }
}

/// The faults as the end of a commit.
pub(super) fn refused(faults: Vec<FieldError>) -> Result<(), CommitError> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(CommitError::Invalid(faults.into()))
    }
}

#[cfg(test)]
mod tests;
