//! What policies are made of, made ready before a configuration comes into force: components
//! compiled, configurations looked at, and what calls share kept from one to the next.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use fleetway_api::{
    BodyAccess, FieldError, Id, Kind, Name, Policy, PolicyAttachment, PolicyHttp, Resource,
    ResourceSet,
};
use fleetway_policy_runtime::{Grant, Limits, Options, Program, Runtime, Shared, Stage, Unit};
use imbl::OrdMap;
use tokio::sync::OnceCell;

use super::{Attached, Rule, stage};

/// How policies are run here.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where what was compiled is kept.
    pub cache: Option<PathBuf>,
}

/// A component, and whether what it runs on counts fuel.
type Compiled = (Name, bool);

/// What the policies of a snapshot are made of. Cheap to clone; what lives longer than a snapshot
/// is passed on.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    settings: Settings,
    /// From the first component on: one that counts no fuel and one that does, which makes all that
    /// runs on it slower.
    runtimes: Arc<[OnceCell<Arc<Runtime>>; 2]>,
    compiled: OrdMap<Compiled, Arc<Program>>,
    shared: OrdMap<Name, Arc<Shared>>,
    /// Of each route and listener that has policies.
    attached: OrdMap<Id, Arc<Attached>>,
}

impl Programs {
    /// None yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// The policies of a route or a listener, if it has some.
    #[must_use]
    pub fn attached(&self, id: &Id) -> Option<&Arc<Attached>> {
        self.attached.get(id)
    }

    /// What the calls of each policy share.
    pub fn shared(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.shared.values()
    }

    /// Removes from the disk what was compiled of components that are not there any more. To be
    /// waited for before anything else is compiled.
    pub async fn tidy(&self) {
        let (runtimes, compiled) = (self.runtimes.clone(), self.compiled.clone());
        let removing = tokio::task::spawn_blocking(move || {
            for (fuel, runtime) in [false, true].into_iter().zip(&*runtimes) {
                let Some(runtime) = runtime.get() else {
                    continue;
                };
                let of = compiled.keys().filter(|(_, of)| *of == fuel);
                let digests: Vec<&str> = of.map(|(name, _)| name.as_str()).collect();
                runtime.retain(&digests);
            }
        });
        if let Err(error) = removing.await {
            tracing::error!(%error, "what was compiled of former components is still on the disk");
        }
    }

    /// Those of `resources`, of which `changed` are new or gone. Gives also the routes and listeners
    /// that did not change though their policies did.
    ///
    /// # Errors
    /// What a component cannot do that a policy wants of it, and what it says is wrong with its
    /// configuration.
    pub async fn prepare<T>(
        &self,
        resources: &ResourceSet<T>,
        changed: &[Id],
    ) -> Result<(Self, Vec<Id>), Vec<FieldError>>
    where
        T: Send + Sync,
    {
        let mut next = self.clone();
        let is_ours = |id: &Id| matches!(id.kind, Kind::Component | Kind::Policy);
        if changed.iter().any(is_ours) {
            next.compile(resources).await?;
            next.share(resources);
        }
        let attaches = |id: &&Id| matches!(id.kind, Kind::Route | Kind::Listener);
        let mut with: Vec<&Id> = changed.iter().filter(attaches).collect();
        let others = attached_to_changed(resources, changed);
        with.extend(&others);
        let mut faults = Vec::new();
        for id in with {
            match next.attach(resources, id).await {
                Ok(Some(attached)) => drop(next.attached.insert(id.clone(), Arc::new(attached))),
                Ok(None) => drop(next.attached.remove(id)),
                Err(found) => faults.extend(found),
            }
        }
        match faults.is_empty() {
            true => Ok((next, others)),
            false => Err(faults),
        }
    }

    /// Compiles the components that are new, each on a thread for such work.
    async fn compile<T>(&mut self, resources: &ResourceSet<T>) -> Result<(), Vec<FieldError>> {
        let wanted = wanted(resources);
        self.compiled = std::mem::take(&mut self.compiled)
            .into_iter()
            .filter(|(compiled, _)| wanted.contains(compiled))
            .collect();
        for compiled in wanted {
            let (name, fuel) = &compiled;
            let id = Id::new(Kind::Component, name.clone());
            let component = resources.get(&id).map(|entry| &entry.resource);
            let Some(Resource::Component(component)) = component else {
                continue;
            };
            if self.compiled.contains_key(&compiled) {
                continue;
            }
            let fault = |message: String| {
                vec![FieldError::new(
                    format_args!("components/{name}"),
                    "wasm",
                    message,
                )]
            };
            let runtime = self.runtime(*fuel).await.map_err(&fault)?;
            let wasm = component.wasm.clone();
            let made = tokio::task::spawn_blocking(move || Program::compile(&runtime, &wasm)).await;
            let program = made
                .map_err(|error| fault(format!("could not be compiled: {error}")))?
                .map_err(|error| fault(error.to_string()))?;
            let tried = program.trial().await;
            tried.map_err(|error| fault(error.to_string()))?;
            self.compiled.insert(compiled, program);
        }
        Ok(())
    }

    async fn runtime(&self, fuel: bool) -> Result<Arc<Runtime>, String> {
        let [without, with] = &*self.runtimes;
        let cache = self.settings.cache.as_ref();
        let (runtime, cache) = match fuel {
            false => (without, cache.cloned()),
            true => (with, cache.map(|folder| folder.join("fuel"))),
        };
        let options = Options {
            cache,
            fuel,
            ..Options::default()
        };
        let runtime = runtime.get_or_try_init(async || Runtime::new(options));
        runtime.await.cloned().map_err(|error| error.to_string())
    }

    /// Keeps what the calls of policies share, for those that are there.
    fn share<T>(&mut self, resources: &ResourceSet<T>) {
        let policies = resources.of(Kind::Policy);
        let before = std::mem::take(&mut self.shared);
        let shared = |name: &Name| match before.get(name) {
            Some(shared) => shared.clone(),
            None => Arc::new(Shared::new(name.as_str())),
        };
        self.shared = policies
            .keys()
            .map(|name| (name.clone(), shared(name)))
            .collect();
    }

    /// The policies of a route or a listener; none if it has none or is gone.
    async fn attach<T>(
        &self,
        resources: &ResourceSet<T>,
        id: &Id,
    ) -> Result<Option<Attached>, Vec<FieldError>> {
        let attachments = attachments(resources, id);
        if attachments.is_empty() {
            return Ok(None);
        }
        let field = match id.kind {
            Kind::Listener => "http.policies",
            _ => "policies",
        };
        let mut stages: [Vec<Rule>; Stage::ALL.len()] = Default::default();
        let mut faults = Vec::new();
        for (index, attachment) in attachments.iter().enumerate() {
            let at = format!("{field}[{index}]");
            match self.rule(resources, attachment).await {
                Ok(rule) => {
                    if let Some(stage) = stages.get_mut(stage(attachment.stage).index()) {
                        stage.push(rule);
                    }
                }
                Err(found) => {
                    faults.extend(found.into_iter().map(|(part, message)| {
                        FieldError::new(id, format!("{at}.{part}"), message)
                    }))
                }
            }
        }
        match faults.is_empty() {
            true => Ok(Some(Attached(stages.map(Into::into)))),
            false => Err(faults),
        }
    }

    /// A policy where it is attached, or each fault of that with the field it is in.
    async fn rule<T>(
        &self,
        resources: &ResourceSet<T>,
        attachment: &PolicyAttachment,
    ) -> Result<Rule, Vec<(String, String)>> {
        let missing = || vec![("policy".to_owned(), "is not there".to_owned())];
        let policy = policy(resources, &attachment.policy).ok_or_else(missing)?;
        let compiled = (policy.component.clone(), policy.limits.fuel.is_some());
        let program = self.compiled.get(&compiled).ok_or_else(missing)?;
        let shared = self.shared.get(&attachment.policy).ok_or_else(missing)?;
        let description = program.description();
        let body = policy.body.of_component(description.streams());
        let streamed = body == BodyAccess::Streamed;
        let fits = description.fits(stage(attachment.stage), streamed);
        fits.map_err(|misfit| vec![("stage".to_owned(), misfit.to_string())])?;
        let config = policy.config.merged(attachment.config.as_ref());
        let limits = Limits {
            timeout: policy.limits.timeout,
            memory: usize::try_from(policy.limits.memory).unwrap_or(usize::MAX),
            fuel: policy.limits.fuel,
        };
        let tried = program
            .try_out(attachment.policy.as_str(), &config, limits)
            .await;
        let faults = tried.map_err(|error| vec![("policy".to_owned(), error.to_string())])?;
        if !faults.is_empty() {
            let at = |path: &str| format!("config{path}");
            return Err(faults
                .into_iter()
                .map(|fault| (at(&fault.path), fault.message))
                .collect());
        }
        Ok(Rule {
            unit: Arc::new(Unit {
                name: policy.common.name.as_str().into(),
                program: program.clone(),
                config: config.into(),
                limits,
                grant: grant(&policy.http),
                shared: shared.clone(),
            }),
            body,
            on_failure: policy.on_failure.clone(),
        })
    }
}

/// What is to be compiled: each component for the policies there are, and where there is none so that
/// it is known whether it can be.
fn wanted<T>(resources: &ResourceSet<T>) -> BTreeSet<Compiled> {
    let of = resources.of(Kind::Policy).values();
    let mut wanted: BTreeSet<Compiled> = of
        .filter_map(|entry| match &entry.resource {
            Resource::Policy(policy) => {
                Some((policy.component.clone(), policy.limits.fuel.is_some()))
            }
            _ => None,
        })
        .collect();
    for name in resources.of(Kind::Component).keys() {
        let (without, with) = ((name.clone(), false), (name.clone(), true));
        if !wanted.contains(&with) {
            wanted.insert(without);
        }
    }
    wanted
}

fn grant(http: &PolicyHttp) -> Grant {
    Grant {
        clusters: http
            .clusters
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        timeout: http.timeout,
    }
}

fn policy<'r, T>(resources: &'r ResourceSet<T>, name: &Name) -> Option<&'r Policy> {
    let id = Id::new(Kind::Policy, name.clone());
    match &resources.get(&id)?.resource {
        Resource::Policy(policy) => Some(policy),
        _ => None,
    }
}

fn attachments<'r, T>(resources: &'r ResourceSet<T>, id: &Id) -> &'r [PolicyAttachment] {
    match resources.get(id).map(|entry| &entry.resource) {
        Some(Resource::Route(route)) => &route.policies,
        Some(Resource::Listener(listener)) => listener.policies(),
        _ => &[],
    }
}

/// The routes and listeners that did not change, though a policy attached to them did.
fn attached_to_changed<T>(resources: &ResourceSet<T>, changed: &[Id]) -> Vec<Id> {
    let policies = changed.iter().filter(|id| id.kind == Kind::Policy);
    let attached: BTreeSet<&Id> = policies.flat_map(|id| resources.referrers(id)).collect();
    if attached.is_empty() {
        return Vec::new();
    }
    let changed: BTreeSet<&Id> = changed.iter().collect();
    attached.difference(&changed).copied().cloned().collect()
}
