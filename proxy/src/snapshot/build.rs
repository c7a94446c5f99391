//! The next snapshot from the one in force: pure, but for the files of access logs, which are opened;
//! and at the cost of what changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use fleetway_api::{self as api, Action, FieldError, Id, Kind, Name, Resource, WeightedCluster};
use imbl::OrdMap;

use super::{
    BoundRoute, ListenerConfig, Protocol, Received, Resources, Slot, Snapshot, Targets, Update, tls,
};
use crate::{
    access_log::AccessLog,
    cluster::Cluster,
    policy::Programs,
    route::{self, RouteTable},
    telemetry::{ClusterCounters, ListenerCounters},
};

type Entry = api::Entry<Received>;
type Table = RouteTable<BoundRoute>;

/// Routes that come into a table or leave it.
#[derive(Debug, Default)]
struct Moves {
    removed: Vec<Arc<Entry>>,
    added: Vec<Arc<BoundRoute>>,
}

impl Moves {
    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    fn on(&self, table: &Table) -> Table {
        let removed = self
            .removed
            .iter()
            .filter_map(|entry| match &entry.resource {
                Resource::Route(route) => Some(route::Change::Remove(route)),
                _ => None,
            });
        table.update(removed.chain(self.added.iter().cloned().map(route::Change::Add)))
    }
}

impl Snapshot {
    /// The snapshot of `update`, made from this one. Counters live on under their names. `policies`
    /// are those of the update, with what has others now though it did not change.
    ///
    /// # Errors
    /// What cannot be made of the resources, though each is valid.
    pub fn next(
        &self,
        update: Update,
        (policies, repoliced): (Programs, Vec<Id>),
        applied_ms: i64,
        workers: usize,
    ) -> Result<Self, Vec<FieldError>> {
        let mut next = Self {
            revision: update.revision,
            time_ms: update.time_ms,
            applied_ms,
            origin: update.origin,
            resources: update.resources,
            listeners: OrdMap::new(),
            clusters: self.clusters.clone(),
            sends_proxy_protocol: self.sends_proxy_protocol,
            slots: self.slots.clone(),
            shared: self.shared.clone(),
            logs: self.logs.clone(),
            policies,
            latencies: self.latencies.clone(),
        };
        next.change_clusters(&update.changed, workers)?;
        let rebound = update.changed.iter().chain(&repoliced);
        let (shared, own) = next.change_routes(rebound, self);
        if !shared.is_empty() {
            next.shared = Arc::new(shared.on(&self.shared));
        }
        for (name, entry) in next.resources.of(Kind::Listener) {
            let Resource::Listener(resource) = &entry.resource else {
                continue;
            };
            let before = self.listeners.get(name);
            let table = next.table_of(name, before, &shared, own.get(name));
            let tls = tls::terminate(&next.resources, resource, before)?;
            let policies = next.policies.attached(&entry.resource.id()).cloned();
            let has_own_table = !Arc::ptr_eq(&table, &next.shared);
            let unchanged = before.filter(|before| {
                Arc::ptr_eq(&before.entry, entry)
                    && Arc::ptr_eq(&before.table, &table)
                    && same(before.tls.as_ref(), tls.as_ref())
                    && same(before.policies.as_ref(), policies.as_ref())
            });
            let counters = before.map_or_else(
                || Arc::new(ListenerCounters::new(workers)),
                |before| before.counters.clone(),
            );
            let access_log = next.access_log(resource, before, &counters)?;
            let listener = unchanged.cloned().unwrap_or_else(|| {
                Arc::new(ListenerConfig {
                    name: name.clone(),
                    address: resource.address,
                    limits: resource.limits,
                    admission: before.map_or_else(Arc::default, |before| before.admission.clone()),
                    proxy_protocol: resource.proxy_protocol.clone().map(Arc::new),
                    tls,
                    protocol: Protocol::new(&resource.protocol, |clusters| next.targets(clusters)),
                    entry: entry.clone(),
                    table,
                    has_own_table,
                    counters,
                    policies,
                    access_log,
                })
            });
            next.listeners.insert(name.clone(), listener);
        }
        Ok(next)
    }

    /// Makes the clusters anew whose resource, endpoints or secrets changed.
    fn change_clusters(&mut self, changed: &[Id], workers: usize) -> Result<(), Vec<FieldError>> {
        let names = changed_clusters(&self.resources, changed);
        let mut clusters: Option<Vec<Option<Arc<Cluster>>>> = None;
        for name in &names {
            let clusters = clusters.get_or_insert_with(|| self.clusters.to_vec());
            let known = self.slots.get(name).copied();
            let before = known.and_then(|slot| clusters.get(slot.index())?.clone());
            let Some(resource) = cluster_resource(&self.resources, name) else {
                if let Some(slot) = known {
                    self.slots.remove(name);
                    if let Some(place) = clusters.get_mut(slot.index()) {
                        *place = None;
                    }
                }
                continue;
            };
            let tls_before = before.as_ref().and_then(|before| before.tls.as_ref());
            let tls = tls::originate(&self.resources, resource, tls_before)?;
            let counters = before.map_or_else(
                || Arc::new(ClusterCounters::new(workers)),
                |before| before.counters.clone(),
            );
            let endpoints = self.resources.get(&Id::new(Kind::Endpoints, name.clone()));
            let endpoints = endpoints.and_then(|entry| match &entry.resource {
                Resource::Endpoints(endpoints) => Some(&**endpoints),
                _ => None,
            });
            let cluster = Some(Arc::new(Cluster::new(resource, endpoints, tls, counters)));
            let slot = known.or_else(|| free_slot(clusters)).unwrap_or_default();
            self.slots.insert(name.clone(), slot);
            if let Some(place) = clusters.get_mut(slot.index()) {
                *place = cluster;
            }
        }
        if let Some(clusters) = clusters {
            self.clusters = clusters.into();
            let mut each = self.clusters.iter().flatten();
            let sends = each.any(|cluster| cluster.proxy_protocol.is_some());
            self.sends_proxy_protocol = sends;
        }
        Ok(())
    }

    /// Binds the changed routes. Gives what that moves in the table all listeners share, and in
    /// those of single listeners.
    fn change_routes<'c>(
        &self,
        changed: impl Iterator<Item = &'c Id>,
        in_force: &Self,
    ) -> (Moves, BTreeMap<Name, Moves>) {
        let mut shared = Moves::default();
        let mut own: BTreeMap<Name, Moves> = BTreeMap::new();
        for id in changed.filter(|id| id.kind == Kind::Route) {
            if let Some(before) = in_force.resources.get(id) {
                for moves in places(before, &mut shared, &mut own) {
                    moves.removed.push(before.clone());
                }
            }
            let after = self.resources.get(id);
            if let Some((after, bound)) = after.and_then(|after| Some((after, self.bind(after)?))) {
                for moves in places(after, &mut shared, &mut own) {
                    moves.added.push(bound.clone());
                }
            }
        }
        (shared, own)
    }

    /// The route with its clusters looked up.
    pub(super) fn bind(&self, entry: &Arc<Entry>) -> Option<Arc<BoundRoute>> {
        let Resource::Route(route) = &entry.resource else {
            return None;
        };
        let targets = match &route.action {
            Action::Forward(forward) => self.targets(&forward.clusters),
            _ => Targets::default(),
        };
        Some(Arc::new(BoundRoute {
            entry: entry.clone(),
            targets,
            policies: self.policies.attached(&entry.resource.id()).cloned(),
            latency: OnceLock::new(),
        }))
    }

    /// The access log of a listener: the one it has, or another, opened.
    fn access_log(
        &self,
        resource: &api::Listener,
        before: Option<&Arc<ListenerConfig>>,
        counters: &Arc<ListenerCounters>,
    ) -> Result<Option<Arc<AccessLog>>, Vec<FieldError>> {
        let Some(target) = &resource.access_log else {
            return Ok(None);
        };
        let has = before.and_then(|before| before.access_log.as_ref());
        if let Some(log) = has.filter(|log| log.goes_to(target)) {
            return Ok(Some(log.clone()));
        }
        match AccessLog::open(&self.logs, target, counters.clone()) {
            Ok(log) => Ok(Some(Arc::new(log))),
            Err(error) => Err(vec![FieldError::new(
                format_args!("listeners/{}", resource.common.name),
                "access_log.path",
                format!(
                    "cannot be opened: {error}: name a file that the proxy can write, in a folder that is there"
                ),
            )]),
        }
    }

    /// The clusters looked up. References were checked with the set: every cluster has its slot.
    fn targets(&self, clusters: &[WeightedCluster]) -> Targets {
        Targets::new(clusters, |name| self.slots.get(name).copied())
    }

    /// The table of a listener: the shared one, or its own where routes name it.
    fn table_of(
        &self,
        name: &Name,
        before: Option<&Arc<ListenerConfig>>,
        shared: &Moves,
        own: Option<&Moves>,
    ) -> Arc<Table> {
        let id = Id::new(Kind::Listener, name.clone());
        let mut naming = self.resources.referrers(&id).peekable();
        if naming.peek().is_none() {
            return self.shared.clone();
        }
        let had_own = before.filter(|before| before.has_own_table);
        match had_own {
            Some(before) => {
                let mut table = before.table.clone();
                for moves in [Some(shared), own]
                    .into_iter()
                    .flatten()
                    .filter(|m| !m.is_empty())
                {
                    table = Arc::new(moves.on(&table));
                }
                table
            }
            None => {
                let named = naming.filter_map(|id| self.bind(self.resources.get(id)?));
                Arc::new(self.shared.update(named.map(route::Change::Add)))
            }
        }
    }
}

/// Whether both are the very same, or neither is.
fn same<T>(one: Option<&Arc<T>>, two: Option<&Arc<T>>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        (None, None) => true,
        _ => false,
    }
}

/// The tables a route stands in: the shared one, or those of the listeners it names.
fn places<'m>(
    entry: &Entry,
    shared: &'m mut Moves,
    own: &'m mut BTreeMap<Name, Moves>,
) -> Vec<&'m mut Moves> {
    let listeners: &[Name] = match &entry.resource {
        Resource::Route(route) => &route.listeners,
        _ => &[],
    };
    if listeners.is_empty() {
        return vec![shared];
    }
    for listener in listeners {
        own.entry(listener.clone()).or_default();
    }
    own.iter_mut()
        .filter(|(name, _)| listeners.contains(name))
        .map(|(_, moves)| moves)
        .collect()
}

/// The names of the clusters that changed by themselves, with their endpoints or their secrets.
fn changed_clusters(resources: &Resources, changed: &[Id]) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    for id in changed {
        match id.kind {
            Kind::Cluster | Kind::Endpoints => drop(names.insert(id.name.clone())),
            Kind::Secret => {
                let referrers = resources.referrers(id);
                let clusters = referrers.filter(|id| id.kind == Kind::Cluster);
                names.extend(clusters.map(|id| id.name.clone()));
            }
            _ => {}
        }
    }
    names
}

fn cluster_resource<'a>(resources: &'a Resources, name: &Name) -> Option<&'a api::Cluster> {
    match &resources
        .get(&Id::new(Kind::Cluster, name.clone()))?
        .resource
    {
        Resource::Cluster(cluster) => Some(cluster),
        _ => None,
    }
}

/// The first place without a cluster, made if need be.
fn free_slot(clusters: &mut Vec<Option<Arc<Cluster>>>) -> Option<Slot> {
    let place = clusters
        .iter()
        .position(Option::is_none)
        .unwrap_or_else(|| {
            clusters.push(None);
            clusters.len() - 1
        });
    u32::try_from(place).ok().map(Slot::new)
}
