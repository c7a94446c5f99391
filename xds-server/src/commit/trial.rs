//! Components asked by running them, as proxies do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleetway_api::{Component, Name, PolicyLimits, Stage, proto::v1};
use fleetway_policy_runtime::{
    self as policy, ABI_VERSION, Description, Limits, Options, Program, Runtime,
};

use super::{ConfigFault, Examine};

/// How many components stay compiled.
const KEPT: usize = 16;
/// How long they are together, in bytes; the one asked last stays whatever its length.
const KEPT_BYTES: usize = 32 << 20;
/// How many instances there are at once: as many as there may be threads that ask, and more wait.
const CALLS: u32 = 16;
/// What the names of the ABI's interfaces begin with.
const ABI: &str = "fleetway:policy/";

/// Compiles components and has them look at configurations. What that takes is there from the first
/// component on.
#[derive(Debug, Default)]
pub struct Trial {
    runtime: Mutex<Option<Arc<Runtime>>>,
    /// Those compiled, the one asked last at the end.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    name: Name,
    length: usize,
    program: Arc<Program>,
}

impl Trial {
    fn program(&self, component: &Component) -> Result<Arc<Program>, String> {
        let name = &component.common.name;
        let mut kept = lock(&self.kept);
        if let Some(place) = kept.iter().position(|of| of.name == *name) {
            let found = kept.remove(place);
            let program = found.program.clone();
            kept.push(found);
            return Ok(program);
        }
        // Others are asked meanwhile.
        drop(kept);
        let runtime = self.runtime()?;
        let program = Program::compile(&runtime, &component.wasm);
        let program = program.map_err(|error| error.to_string())?;
        let mut kept = lock(&self.kept);
        kept.retain(|of| of.name != *name);
        kept.push(Kept {
            name: name.clone(),
            length: component.wasm.len(),
            program: program.clone(),
        });
        let mut left: usize = kept.iter().map(|of| of.length).sum();
        let drop_first = kept.iter().enumerate().take_while(|(place, of)| {
            let many = kept.len() - place;
            let too_many = many > KEPT || (many > 1 && left > KEPT_BYTES);
            left -= of.length;
            too_many
        });
        let drop_first = drop_first.count();
        kept.drain(..drop_first);
        Ok(program)
    }

    fn runtime(&self) -> Result<Arc<Runtime>, String> {
        let mut runtime = lock(&self.runtime);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.clone());
        }
        let options = Options {
            calls: CALLS,
            ..Options::default()
        };
        let new = Runtime::new(options).map_err(|error| error.to_string())?;
        Ok(runtime.insert(new).clone())
    }
}

impl Examine for Trial {
    fn component(&self, component: &Component) -> Result<v1::ComponentFacts, Vec<String>> {
        let program = self.program(component).map_err(|fault| vec![fault])?;
        match wait(program.trial()) {
            Ok(Ok(())) => Ok(facts(program.description())),
            Ok(Err(error)) => Err(vec![error.to_string()]),
            Err(fault) => Err(vec![fault]),
        }
    }

    fn config(
        &self,
        component: &Component,
        policy: &Name,
        limits: PolicyLimits,
        config: &str,
    ) -> Result<Vec<ConfigFault>, String> {
        let program = self.program(component)?;
        let limits = Limits {
            timeout: limits.timeout,
            memory: usize::try_from(limits.memory).unwrap_or(usize::MAX),
            fuel: limits.fuel,
        };
        let faults = wait(program.try_out(policy.as_str(), config, limits))?;
        let faults = faults.map_err(|error| error.to_string())?;
        let fault = |fault: policy::Fault| ConfigFault {
            pointer: fault.path,
            message: fault.message,
        };
        Ok(faults.into_iter().map(fault).collect())
    }

    fn stage(&self, component: &Component, stage: Stage, streamed: bool) -> Result<(), String> {
        let program = self.program(component)?;
        let stage = match stage {
            Stage::PreRoute => policy::Stage::PreRoute,
            Stage::PreUpstream => policy::Stage::PreUpstream,
            Stage::PostResponse => policy::Stage::PostResponse,
        };
        let fits = program.description().fits(stage, streamed);
        fits.map_err(|misfit| misfit.to_string())
    }
}

/// What is told of a component.
fn facts(of: &Description) -> v1::ComponentFacts {
    let version = |import: &String| {
        let (_, version) = import.strip_prefix(ABI)?.split_once('@')?;
        Some(version.to_owned())
    };
    let stages = of.stages.iter();
    v1::ComponentFacts {
        size: u32::try_from(of.size).unwrap_or(u32::MAX),
        stages: stages.map(|stage| stage.in_documents().into()).collect(),
        imports: of.imports.clone(),
        streams: [(of.request_body, "REQUEST"), (of.response_body, "RESPONSE")]
            .into_iter()
            .filter(|(can, _)| *can)
            .map(|(_, body)| body.to_owned())
            .collect(),
        abi: of
            .imports
            .iter()
            .find_map(version)
            .unwrap_or_else(|| ABI_VERSION.to_owned()),
    }
}

/// Waits for it on this thread, which may block.
fn wait<F: Future>(future: F) -> Result<F::Output, String> {
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| format!("cannot be tried: {error}"))?;
    Ok(waiting.block_on(future))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use fleetway_api::{Resource, component_digest};

    use super::*;

    fn component(wasm: Vec<u8>) -> Component {
        let message = v1::Component {
            name: component_digest(&wasm),
            wasm: wasm.into(),
            ..v1::Component::default()
        };
        let read = Resource::read(v1::Resource {
            kind: Some(v1::resource::Kind::Component(message)),
        });
        let Ok(Resource::Component(component)) = read else {
            panic!("{read:?}");
        };
        *component
    }

    #[test]
    fn what_is_no_policy_is_refused_each_time_and_not_kept() {
        let trial = Trial::default();
        let none = component(wat::parse_str("(component)").unwrap());
        assert!(trial.runtime.lock().unwrap().is_none());
        for _ in 0..2 {
            let faults = trial.component(&none).unwrap_err();
            assert!(faults[0].starts_with("it exports no stage"), "{faults:?}");
        }
        assert!(trial.kept.lock().unwrap().is_empty());
    }

    #[test]
    fn few_components_stay_compiled() {
        let trial = Trial::default();
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../testdata/policies/header-rules.wasm"
        );
        let sample = std::fs::read(sample).unwrap();
        for number in 0..=KEPT {
            // A custom section makes another component of it.
            let mut wasm = sample.clone();
            wasm.extend([0, 2, 1, u8::try_from(number).unwrap() + b'a']);
            trial.component(&component(wasm)).unwrap();
        }
        assert_eq!(trial.kept.lock().unwrap().len(), KEPT);
        let first = component(sample);
        let facts = trial.component(&first).unwrap();
        assert_eq!(facts.stages, ["PRE_ROUTE", "POST_RESPONSE"]);
        let last = trial.kept.lock().unwrap().last().unwrap().name.clone();
        assert_eq!(last, first.common.name);
    }
}
