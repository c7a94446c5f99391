//! One call of a policy.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{
    Store,
    component::{Instance, Resource},
};

use crate::{
    Answer, Buffered, CompileError, Decision, Exchange, Failure, Fault, Hint, Outcome, Runtime,
    Stage, Subject, Transform, Unit, Upstream,
    abi::{stages, types},
    body::Pipe,
    failure::root,
    host::{self, fields::is_forbidden},
    state::State,
};

/// The most memory what a guest passes to the host in one call of a function takes there.
const HOSTCALL_BYTES: usize = 16 * 1024 * 1024;

/// The longest body of an answer.
const ANSWER_BYTES: usize = 1024 * 1024;
/// The most fields of an answer.
const ANSWER_FIELDS: usize = 100;
/// The most faults of a configuration that are told.
const FAULTS: usize = 100;
/// The most bytes that are told of what is wrong, and of where.
const FAULT_BYTES: usize = 1024;

/// A policy's instance, for one stage of one request.
pub struct Call {
    store: Store<State>,
    instance: Instance,
    _places: Places,
}

/// One among the calls of the policy, and one among those of all.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("policy", &self.store.data().unit.name)
            .finish_non_exhaustive()
    }
}

impl Unit {
    /// Makes an instance that has this request before it. Waits for a place while all are taken.
    ///
    /// # Errors
    /// When there is none for as long as a call may run, or the policy fails. The request is given
    /// back as it was.
    pub async fn start(
        self: &Arc<Self>,
        subject: Box<Subject>,
    ) -> Result<Call, (Box<Subject>, Failure)> {
        let runtime = &self.program.runtime;
        let Some(places) = places(runtime, self).await else {
            return Err((subject, Failure::Busy));
        };
        let mut store = Store::new(&runtime.engine, State::new(self.clone(), subject));
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick());
        store.set_epoch_deadline(1);
        if runtime.options.fuel {
            // It is counted, so it can be set.
            let _ = store.set_fuel(self.limits.fuel.unwrap_or(u64::MAX));
        }
        runtime.ticker.need();
        match self.program.pre.instantiate_async(&mut store).await {
            Ok(instance) => Ok(Call {
                store,
                instance,
                _places: places,
            }),
            Err(error) => Err((store.into_data().subject, Failure::of(&error))),
        }
    }
}

async fn places(runtime: &Runtime, unit: &Unit) -> Option<Places> {
    let (own, all) = (&unit.shared.places, &runtime.places);
    if let Ok(own) = own.clone().try_acquire_owned()
        && let Ok(all) = all.clone().try_acquire_owned()
    {
        return Some((own, all));
    }
    let waits = async {
        let own = own.clone().acquire_owned().await.ok()?;
        Some((own, all.clone().acquire_owned().await.ok()?))
    };
    tokio::time::timeout(unit.limits.timeout, waits)
        .await
        .ok()?
}

/// What the program does not export cannot be called.
fn not_exported() -> Failure {
    Failure::Misuse("it does not export this stage".into())
}

impl Call {
    /// Has it look at a request before a route is chosen.
    ///
    /// # Errors
    /// When the policy fails.
    pub async fn pre_route(&mut self) -> Result<Decision, Failure> {
        let program = self.store.data().unit.program.clone();
        let indices = program
            .exports
            .pre_route
            .as_ref()
            .ok_or_else(not_exported)?;
        let called = async {
            let guest = indices.load(&mut self.store, &self.instance)?;
            guest
                .call_handle(&mut self.store, Resource::new_borrow(host::REQUEST))
                .await
        };
        decision(called.await)
    }

    /// Has it look at a request whose route is chosen, and at its body if it has come as a whole.
    ///
    /// # Errors
    /// When the policy fails.
    pub async fn pre_upstream(
        &mut self,
        upstream: Box<Upstream>,
        body: Option<Buffered>,
    ) -> Result<Decision, Failure> {
        let program = self.store.data().unit.program.clone();
        let indices = program
            .exports
            .pre_upstream
            .as_ref()
            .ok_or_else(not_exported)?;
        let buffer = body.is_some().then(|| Resource::new_borrow(host::BUFFER));
        let state = self.store.data_mut();
        (state.upstream, state.buffer) = (Some(upstream), body);
        let called = async {
            let guest = indices.load(&mut self.store, &self.instance)?;
            let request = Resource::new_borrow(host::REQUEST);
            let upstream = Resource::new_borrow(host::UPSTREAM);
            guest
                .call_handle(&mut self.store, request, upstream, buffer)
                .await
        };
        decision(called.await)
    }

    /// Has it look at a response, and at its body if it has come as a whole.
    ///
    /// # Errors
    /// When the policy fails.
    pub async fn post_response(
        &mut self,
        response: Box<response::Parts>,
        exchange: &Exchange,
        body: Option<Buffered>,
    ) -> Result<Outcome, Failure> {
        let program = self.store.data().unit.program.clone();
        let indices = program
            .exports
            .post_response
            .as_ref()
            .ok_or_else(not_exported)?;
        let buffer = body.is_some().then(|| Resource::new_borrow(host::BUFFER));
        let exchange = types::Exchange {
            route: exchange.route.clone(),
            cluster: exchange.cluster.clone(),
            endpoint: exchange.endpoint.map(|endpoint| endpoint.to_string()),
            duration: u64::try_from(exchange.duration.as_micros()).unwrap_or(u64::MAX),
        };
        let state = self.store.data_mut();
        state.read_only = true;
        (state.response, state.buffer) = (Some(response), body);
        let called = async {
            let guest = indices.load(&mut self.store, &self.instance)?;
            let request = Resource::new_borrow(host::REQUEST);
            let response = Resource::new_borrow(host::RESPONSE);
            guest
                .call_handle(&mut self.store, request, response, &exchange, buffer)
                .await
        };
        match called.await.map_err(|error| Failure::of(&error))? {
            types::Outcome::Continue => Ok(Outcome::Continue),
            types::Outcome::Respond(answer) => answer_of(answer).map(Outcome::Respond),
        }
    }

    /// Has it look at a configuration.
    ///
    /// # Errors
    /// When the policy fails at that.
    pub(crate) async fn validate(&mut self, config: &str) -> Result<Vec<Fault>, Failure> {
        let program = self.store.data().unit.program.clone();
        let Some(indices) = program.exports.configuration.as_ref() else {
            return Ok(Vec::new());
        };
        let called = async {
            let guest = indices.load(&mut self.store, &self.instance)?;
            guest.call_validate(&mut self.store, config).await
        };
        let found = called.await.map_err(|error| Failure::of(&error))?;
        let faults = found.err().unwrap_or_default().into_iter();
        let fault = |fault: stages::configuration::Fault| Fault {
            path: cut(fault.path),
            message: cut(fault.message),
        };
        Ok(faults.take(FAULTS).map(fault).collect())
    }

    /// Whether each export is of its type.
    pub(crate) fn check_exports(&mut self) -> Result<(), CompileError> {
        let program = self.store.data().unit.program.clone();
        let exports = &program.exports;
        macro_rules! check {
            ($($export:ident: $name:literal),*) => {$(
                if let Some(indices) = &exports.$export {
                    indices
                        .load(&mut self.store, &self.instance)
                        .map_err(|error| CompileError::Export($name, root(&error)))?;
                }
            )*};
        }
        check!(
            pre_route: "pre-route",
            pre_upstream: "pre-upstream",
            post_response: "post-response",
            request_body: "request-body",
            response_body: "response-body",
            configuration: "configuration"
        );
        Ok(())
    }

    /// Whether it passes the body itself, of the request or of the response.
    #[must_use]
    pub fn transforms(&self, stage: Stage) -> bool {
        let exports = &self.store.data().unit.program.exports;
        match stage {
            Stage::PreRoute => false,
            Stage::PreUpstream => exports.request_body.is_some(),
            Stage::PostResponse => exports.response_body.is_some(),
        }
    }

    /// Lets it go on as what passes the body through, once the head is taken out.
    #[must_use]
    pub fn into_transform(self, stage: Stage) -> Transform {
        let Self {
            mut store,
            instance,
            _places: places,
        } = self;
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        store.data_mut().pipe = Some(pipe.clone());
        let of_run = pipe.clone();
        let run = async move {
            // Held to the end.
            let _places = places;
            let program = store.data().unit.program.clone();
            let (reader, writer) = (
                Resource::new_borrow(host::READER),
                Resource::new_borrow(host::WRITER),
            );
            store.data_mut().waited();
            let ran = async {
                if stage == Stage::PreUpstream {
                    let indices = program.exports.request_body.as_ref();
                    let Some(indices) = indices else {
                        return Err(not_exported().into());
                    };
                    let guest = indices.load(&mut store, &instance)?;
                    guest.call_transform(&mut store, reader, writer).await
                } else {
                    let indices = program.exports.response_body.as_ref();
                    let Some(indices) = indices else {
                        return Err(not_exported().into());
                    };
                    let guest = indices.load(&mut store, &instance)?;
                    guest.call_transform(&mut store, reader, writer).await
                }
            };
            let ran = ran.await;
            of_run.lock().unwrap_or_else(PoisonError::into_inner).memory = store.data().memory;
            ran.map_err(|error: wasmtime::Error| Failure::of(&error))?;
            Ok(store.data_mut().trailers.take())
        };
        Transform::new(Box::pin(run), pipe)
    }

    /// The memory its instance has, in bytes. It never becomes less.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.store.data().memory
    }

    /// The request, and what it has become.
    pub fn subject(&mut self) -> &mut Box<Subject> {
        &mut self.store.data_mut().subject
    }

    /// Where the request is to go, as the policy leaves it.
    pub fn take_upstream(&mut self) -> Option<Box<Upstream>> {
        self.store.data_mut().upstream.take()
    }

    /// The head of the response, as the policy leaves it.
    pub fn take_response(&mut self) -> Option<Box<response::Parts>> {
        self.store.data_mut().response.take()
    }

    /// The body that came as a whole, as the policy leaves it.
    pub fn take_body(&mut self) -> Option<Buffered> {
        self.store.data_mut().buffer.take()
    }

    /// Ends it.
    #[must_use]
    pub fn into_subject(self) -> Box<Subject> {
        self.store.into_data().subject
    }
}

/// The text, or as much of it as is told.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(FAULT_BYTES));
    text
}

fn decision(called: wasmtime::Result<types::Decision>) -> Result<Decision, Failure> {
    match called.map_err(|error| Failure::of(&error))? {
        types::Decision::Continue => Ok(Decision::Continue),
        types::Decision::Reroute(hint) => Ok(Decision::Reroute(Hint {
            route: hint.route,
            cluster: hint.cluster,
            tags: hint
                .tags
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        })),
        types::Decision::Respond(answer) => answer_of(answer).map(Decision::Respond),
    }
}

/// Checks an answer. What is the proxy's own to set is left out.
fn answer_of(answer: types::LocalResponse) -> Result<Answer, Failure> {
    let none = |what: String| Failure::Answer(what);
    let status = StatusCode::from_u16(answer.status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| none(format!("{} is no status from 200 to 599", answer.status)))?;
    if answer.body.len() > ANSWER_BYTES {
        return Err(none(format!(
            "its body is longer than {ANSWER_BYTES} bytes"
        )));
    }
    if answer.headers.len() > ANSWER_FIELDS {
        return Err(none(format!("it has more than {ANSWER_FIELDS} fields")));
    }
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for (name, value) in answer.headers {
        let field = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| none(format!("{name:?} is no field name")))?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(value))
            .map_err(|_| none(format!("the value of {name} is none")))?;
        if !is_forbidden(&field) {
            headers
                .try_append(field, value)
                .map_err(|_| none("it has too many fields".into()))?;
        }
    }
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    Ok(Answer {
        status,
        headers,
        body: match bodiless {
            true => Bytes::new(),
            false => answer.body.into(),
        },
    })
}
