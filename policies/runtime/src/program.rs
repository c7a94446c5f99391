//! A component, compiled.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use wasmtime::component::{Component, InstancePre};

use crate::{
    Call, CompileError, Description, Fault, Grant, Limits, Runtime, Shared, Stage, Subject, Unit,
    abi::stages, cache, describe, engine::MEMORY_MAX, failure::root, host::wasi, schema::Schema,
    state::State,
};

/// How long looking at a configuration may take where the policy's time-out is shorter: nobody's
/// request waits for it, and it may be the first thing the instance does.
const LOOKING: Duration = Duration::from_secs(1);

/// A component, compiled and ready to be instantiated.
pub struct Program {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    description: Description,
    schema: Option<Schema>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

/// Where the functions are that it exports.
pub(crate) struct Exports {
    pub(crate) pre_route: Option<stages::pre_route::GuestIndices>,
    pub(crate) pre_upstream: Option<stages::pre_upstream::GuestIndices>,
    pub(crate) post_response: Option<stages::post_response::GuestIndices>,
    pub(crate) request_body: Option<stages::request_body::GuestIndices>,
    pub(crate) response_body: Option<stages::response_body::GuestIndices>,
    pub(crate) configuration: Option<stages::configuration::GuestIndices>,
}

impl Exports {
    fn of(pre: &InstancePre<State>) -> Self {
        Self {
            pre_route: stages::pre_route::GuestIndices::new(pre).ok(),
            pre_upstream: stages::pre_upstream::GuestIndices::new(pre).ok(),
            post_response: stages::post_response::GuestIndices::new(pre).ok(),
            request_body: stages::request_body::GuestIndices::new(pre).ok(),
            response_body: stages::response_body::GuestIndices::new(pre).ok(),
            configuration: stages::configuration::GuestIndices::new(pre).ok(),
        }
    }

    fn stages(&self) -> Vec<Stage> {
        let has = |stage: &Stage| match stage {
            Stage::PreRoute => self.pre_route.is_some(),
            Stage::PreUpstream => self.pre_upstream.is_some(),
            Stage::PostResponse => self.post_response.is_some(),
        };
        Stage::ALL.into_iter().filter(has).collect()
    }
}

fn compiled(runtime: &Runtime, bytes: &[u8]) -> Result<Component, CompileError> {
    describe::check_nesting(bytes)?;
    let component = Component::from_binary(&runtime.engine, bytes)
        .map_err(|error| CompileError::Invalid(root(&error)))?;
    runtime.compiled.fetch_add(1, Ordering::Relaxed);
    Ok(component)
}

impl Program {
    /// Compiles a component, unless it is there compiled. Takes from milliseconds to seconds, by its
    /// size, on every core there is.
    ///
    /// # Errors
    /// When it is none, or none that is a policy of this version.
    pub fn compile(runtime: &Arc<Runtime>, bytes: &[u8]) -> Result<Arc<Self>, CompileError> {
        let Some(cache) = &runtime.cache else {
            return Self::link(runtime, &compiled(runtime, bytes)?, bytes);
        };
        let digest = cache::digest_of(bytes);
        if let Some(component) = cache.read(&runtime.engine, &digest) {
            return Self::link(runtime, &component, bytes);
        }
        let component = compiled(runtime, bytes)?;
        let program = Self::link(runtime, &component, bytes)?;
        cache.write(&digest, &component);
        Ok(program)
    }

    fn link(
        runtime: &Arc<Runtime>,
        component: &Component,
        bytes: &[u8],
    ) -> Result<Arc<Self>, CompileError> {
        let imports = describe::imports(&runtime.engine, component);
        describe::check_imports(&imports)?;
        let refused = |error: wasmtime::Error| CompileError::Imports(format!("{error:#}"));
        let pre = if imports.iter().any(|name| describe::is_wasi(name)) {
            let mut linker = runtime.linker.clone();
            wasi::add_to_linker(&mut linker, &imports).map_err(refused)?;
            linker
                .define_unknown_imports_as_traps(component)
                .map_err(refused)?;
            linker.instantiate_pre(component)
        } else {
            runtime.linker.instantiate_pre(component)
        };
        let pre = pre.map_err(refused)?;
        let exports = Exports::of(&pre);
        let stages = exports.stages();
        if stages.is_empty() {
            return Err(CompileError::NoStage);
        }
        let description = Description {
            size: bytes.len(),
            stages,
            request_body: exports.request_body.is_some(),
            response_body: exports.response_body.is_some(),
            validates: exports.configuration.is_some(),
            imports,
            schema: describe::schema(bytes),
        };
        let schema = description.schema.as_deref().map(Schema::read);
        let schema = schema.transpose().map_err(CompileError::Schema)?;
        Ok(Arc::new(Self {
            runtime: runtime.clone(),
            pre,
            exports,
            description,
            schema,
        }))
    }

    /// What it says of itself.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Makes one instance, with all the memory a policy can be given, and looks at its exports.
    ///
    /// # Errors
    /// When it cannot be instantiated, or an export is not what the ABI says.
    pub async fn trial(self: &Arc<Self>) -> Result<(), CompileError> {
        let limits = Limits {
            timeout: LOOKING,
            memory: MEMORY_MAX,
            fuel: None,
        };
        self.instance("trial", "{}", limits).await.map(drop)
    }

    /// What is wrong with a configuration of a policy of this name, by the component's schema; where
    /// that finds nothing, by what the component itself says.
    ///
    /// # Errors
    /// When it cannot be instantiated within `limits`.
    pub async fn try_out(
        self: &Arc<Self>,
        policy: &str,
        config: &str,
        limits: Limits,
    ) -> Result<Vec<Fault>, CompileError> {
        let mut call = self.instance(policy, config, limits).await?;
        let found = self.schema.as_ref().map(|schema| schema.faults(config));
        if let Some(faults) = found.filter(|faults| !faults.is_empty()) {
            return Ok(faults);
        }
        let faults = call.validate(config).await;
        Ok(faults.unwrap_or_else(|failure| {
            vec![Fault {
                path: String::new(),
                message: format!("the policy could not look at it: {failure}"),
            }]
        }))
    }

    async fn instance(
        self: &Arc<Self>,
        policy: &str,
        config: &str,
        limits: Limits,
    ) -> Result<Call, CompileError> {
        let unit = Arc::new(Unit {
            name: policy.into(),
            program: self.clone(),
            config: config.into(),
            limits: Limits {
                timeout: limits.timeout.max(LOOKING),
                memory: limits.memory,
                fuel: None,
            },
            grant: Grant::default(),
            shared: Arc::new(Shared::new(policy)),
        });
        let mut call = unit
            .start(Box::new(Subject::of_nobody()))
            .await
            .map_err(|(_, failure)| CompileError::Start(failure.to_string()))?;
        call.check_exports()?;
        Ok(call)
    }
}
