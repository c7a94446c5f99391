//! Resources that are valid together: references resolve, nothing is claimed twice.
//!
//! A [`ResourceSet`] is immutable and shares structure with the sets it was made from, so a change
//! costs in proportion to the change. The server's state, the proxy's and the files the command
//! line checks are all such sets.

use std::collections::{BTreeMap, BTreeSet};

use imbl::{HashMap, OrdMap, OrdSet};
use serde_json::Value;
use smallvec::SmallVec;

use crate::{
    FieldError, Id, Kind, Name, Rejection, document,
    resource::{Claim, Resource},
};

/// A resource in a set, with what the set's owner keeps beside it.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// The resource.
    pub resource: Resource,
    /// What the owner keeps: a version, an encoding, nothing.
    pub data: T,
}

/// One change to a set.
#[derive(Debug, Clone)]
pub enum Change<T> {
    /// Create it or put it in place of what is there.
    Put(std::sync::Arc<Entry<T>>),
    /// Remove it. Removing what is not there is no fault here.
    Delete(Id),
}

impl<T> Change<T> {
    /// Which resource it changes.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Put(entry) => entry.resource.id(),
            Self::Delete(id) => id.clone(),
        }
    }
}

/// What is put beside changes and cannot be judged with them, as it is invalid by itself.
#[derive(Debug, Clone, Default)]
pub struct Invalid {
    ids: BTreeSet<Id>,
    unnamed: bool,
}

impl Invalid {
    /// What these documents stand for; one that says neither kind nor name may be any.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut invalid = Self::default();
        for document in documents {
            invalid.note(document::id_in(document));
        }
        invalid
    }

    /// Notes one; `None` if it cannot be told which resource it is.
    pub fn note(&mut self, id: Option<Id>) {
        match id {
            Some(id) => {
                self.ids.insert(id);
            }
            None => self.unnamed = true,
        }
    }

    /// Whether a resource that is missed may be one of these.
    fn may_be(&self, id: &Id) -> bool {
        self.unnamed || self.ids.contains(id)
    }
}

type Shared<T> = std::sync::Arc<Entry<T>>;

/// An immutable set of resources that are valid together.
#[derive(Debug)]
pub struct ResourceSet<T> {
    kinds: [OrdMap<Name, Shared<T>>; Kind::ALL.len()],
    /// Who refers to a resource. Nobody: no entry.
    referrers: HashMap<Id, OrdSet<Id>>,
    /// Who claims what, by hash. One claimant is the rule; more are told apart when they meet.
    claims: OrdMap<Claim, SmallVec<[Id; 1]>>,
}

impl<T> Clone for ResourceSet<T> {
    fn clone(&self) -> Self {
        Self {
            kinds: self.kinds.clone(),
            referrers: self.referrers.clone(),
            claims: self.claims.clone(),
        }
    }
}

impl<T> Default for ResourceSet<T> {
    fn default() -> Self {
        Self {
            kinds: Default::default(),
            referrers: HashMap::default(),
            claims: OrdMap::default(),
        }
    }
}

impl<T> ResourceSet<T> {
    /// The resource, if it is there.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Shared<T>> {
        self.of(id.kind).get(&id.name)
    }

    /// All resources of one kind, by name.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &OrdMap<Name, Shared<T>> {
        let [
            secrets,
            components,
            policies,
            clusters,
            endpoints,
            listeners,
            routes,
        ] = &self.kinds;
        match kind {
            Kind::Secret => secrets,
            Kind::Component => components,
            Kind::Policy => policies,
            Kind::Cluster => clusters,
            Kind::Endpoints => endpoints,
            Kind::Listener => listeners,
            Kind::Route => routes,
        }
    }

    /// All resources, by kind in their order, then by name.
    pub fn iter(&self) -> impl Iterator<Item = &Shared<T>> {
        self.kinds.iter().flat_map(|kind| kind.values())
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kinds.iter().map(OrdMap::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(OrdMap::is_empty)
    }

    /// The resources that refer to this one, by kind and name.
    pub fn referrers(&self, id: &Id) -> impl Iterator<Item = &Id> {
        self.referrers.get(id).into_iter().flatten()
    }

    fn of_mut(&mut self, kind: Kind) -> &mut OrdMap<Name, Shared<T>> {
        let [
            secrets,
            components,
            policies,
            clusters,
            endpoints,
            listeners,
            routes,
        ] = &mut self.kinds;
        match kind {
            Kind::Secret => secrets,
            Kind::Component => components,
            Kind::Policy => policies,
            Kind::Cluster => clusters,
            Kind::Endpoints => endpoints,
            Kind::Listener => listeners,
            Kind::Route => routes,
        }
    }

    /// The set with all changes made, judged as a whole whatever their order; at most one change
    /// for each resource.
    ///
    /// Takes time in proportion to the changes and to what refers to the changed resources.
    ///
    /// # Errors
    /// Every fault the changed set would have; this one stays as it is.
    pub fn apply(&self, changes: Vec<Change<T>>) -> Result<Self, Rejection> {
        self.apply_beside(changes, &Invalid::default())
    }

    /// Every fault the changed set would have if the `invalid` resources were put too. What only
    /// follows from their being invalid is none: a reference to one of them is not missing.
    #[must_use]
    pub fn faults(&self, changes: Vec<Change<T>>, invalid: &Invalid) -> Vec<FieldError> {
        match self.apply_beside(changes, invalid) {
            Ok(_) => Vec::new(),
            Err(rejection) => rejection.errors,
        }
    }

    fn apply_beside(&self, changes: Vec<Change<T>>, invalid: &Invalid) -> Result<Self, Rejection> {
        let mut next = self.clone();
        // As they were they neither refer to anything nor claim it any more.
        for id in &invalid.ids {
            next.take(id);
        }
        let mut touched = Vec::with_capacity(changes.len());
        // Whether anything was claimed that another claimed at the time.
        let mut contested = false;
        for change in changes {
            let id = change.id();
            let (before, after) = match change {
                Change::Put(entry) => {
                    let put = entry.clone();
                    let before = next.of_mut(id.kind).insert(id.name.clone(), put);
                    if let Some(before) = &before {
                        next.unindex(&before.resource);
                    }
                    contested |= next.index(&entry.resource);
                    (before, Some(entry))
                }
                Change::Delete(_) => (next.take(&id), None),
            };
            touched.push((id, Touched::by(before.as_deref(), after)));
        }
        // In one go, which takes a fraction of the time where they come in order.
        let touched = BTreeMap::from_iter(touched);
        next.judge(&touched, contested, invalid)?;
        Ok(next)
    }

    fn take(&mut self, id: &Id) -> Option<Shared<T>> {
        let before = self.of_mut(id.kind).remove(&id.name)?;
        self.unindex(&before.resource);
        Some(before)
    }

    /// Whether another claims something of it, too.
    fn index(&mut self, resource: &Resource) -> bool {
        let id = resource.id();
        resource.references(|role, name, _| {
            self.referrers
                .entry(Id::new(role.kind(), name.clone()))
                .or_default()
                .insert(id.clone());
        });
        let mut contested = false;
        resource.claims(|claim| {
            let claimants = self.claims.entry(claim).or_default();
            if !claimants.contains(&id) {
                contested |= !claimants.is_empty();
                claimants.push(id.clone());
            }
        });
        contested
    }

    fn unindex(&mut self, resource: &Resource) {
        let id = resource.id();
        resource.references(|role, name, _| {
            let target = Id::new(role.kind(), name.clone());
            if let Some(referrers) = self.referrers.get_mut(&target) {
                referrers.remove(&id);
                if referrers.is_empty() {
                    self.referrers.remove(&target);
                }
            }
        });
        resource.claims(|claim| {
            if let Some(claimants) = self.claims.get_mut(&claim) {
                claimants.retain(|claimant| *claimant != id);
                if claimants.is_empty() {
                    self.claims.remove(&claim);
                }
            }
        });
    }

    /// Checks everything the touched resources could have broken; what they claim, where some of it
    /// was contested.
    fn judge(
        &self,
        touched: &BTreeMap<Id, Touched<T>>,
        contested: bool,
        invalid: &Invalid,
    ) -> Result<(), Rejection> {
        let mut errors = Vec::new();
        let mut referrers = Vec::new();
        let mut other_faults = false;
        for (id, how) in touched {
            if let Some(entry) = &how.after {
                let known = errors.len();
                self.judge_references(&entry.resource, invalid, &mut errors);
                if contested {
                    self.judge_claims(&entry.resource, touched, &mut errors);
                }
                other_faults |= errors.len() > known;
            } else {
                // Referrers that were themselves changed report the missing target as theirs.
                let left: Vec<Id> = self
                    .referrers(id)
                    .filter(|by| !touched.contains_key(by))
                    .cloned()
                    .collect();
                // What cannot be told apart may be one of them, changed too.
                if !left.is_empty() && !invalid.unnamed {
                    errors.push(still_referenced(id, &left));
                    referrers.extend(left);
                }
                continue;
            }
            if how.reach_changed {
                for by in self.referrers(id).filter(|by| !touched.contains_key(by)) {
                    if let Some(entry) = self.get(by) {
                        let known = errors.len();
                        self.judge_references(&entry.resource, invalid, &mut errors);
                        other_faults |= errors.len() > known;
                    }
                }
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        if other_faults {
            referrers.clear();
        }
        referrers.sort();
        referrers.dedup();
        Err(Rejection { errors, referrers })
    }

    fn judge_claims(
        &self,
        resource: &Resource,
        touched: &BTreeMap<Id, Touched<T>>,
        errors: &mut Vec<FieldError>,
    ) {
        let id = resource.id();
        let mut met: SmallVec<[Id; 2]> = SmallVec::new();
        resource.claims(|claim| {
            for other in self.claims.get(&claim).into_iter().flatten() {
                // Of two touched resources in conflict, the later one reports it.
                let reported = *other > id && touched.contains_key(other);
                if *other == id || reported || met.contains(other) {
                    continue;
                }
                let conflict = self
                    .get(other)
                    .and_then(|entry| resource.conflict(&entry.resource));
                if let Some((field, message)) = conflict {
                    met.push(other.clone());
                    errors.push(FieldError::new(&id, field, message));
                }
            }
        });
    }

    fn judge_references(
        &self,
        resource: &Resource,
        invalid: &Invalid,
        errors: &mut Vec<FieldError>,
    ) {
        resource.references(|role, name, field| {
            let target = Id::new(role.kind(), name.clone());
            let fault = match self.get(&target) {
                None if invalid.may_be(&target) => return,
                None => format!("there is no {target}: add it too, or refer to one that is there"),
                Some(entry) => {
                    let reach = &entry.resource.common().fleets;
                    if !reach.covers(&resource.common().fleets) {
                        format!(
                            "{target} does not go to every fleet of {}: widen its `fleets` or narrow these",
                            resource.id()
                        )
                    } else if let Some(misfit) = role.misfit(&entry.resource) {
                        format!("{target} {misfit}")
                    } else {
                        return;
                    }
                }
            };
            errors.push(FieldError::new(resource.id(), field(), fault));
        });
    }
}

/// What a change did to a resource as far as others can notice.
#[derive(Debug)]
struct Touched<T> {
    /// What it is now, if it is there.
    after: Option<Shared<T>>,
    /// It came, or its fleets or what it is changed, so what refers to it must be looked at.
    reach_changed: bool,
}

impl<T> Touched<T> {
    fn by(before: Option<&Entry<T>>, after: Option<Shared<T>>) -> Self {
        let reach_changed = match (before, &after) {
            (Some(before), Some(after)) => {
                before.resource.common().fleets != after.resource.common().fleets
                    || !after.resource.stands_in_for(&before.resource)
            }
            _ => true,
        };
        Self {
            after,
            reach_changed,
        }
    }
}

fn still_referenced(id: &Id, by: &[Id]) -> FieldError {
    let mut names: Vec<String> = by.iter().take(5).map(Id::to_string).collect();
    if by.len() > names.len() {
        names.push(format!("and {} more", by.len() - names.len()));
    }
    FieldError::new(
        id,
        "",
        format!(
            "cannot be deleted, it is still referred to by {}",
            names.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests;
