//! What is different about writing a component: its bytes may be left to be kept, and what it is the
//! server finds out.

use fleetway_api::{Component, FieldError, Id, Kind, Resource, proto::v1};

use super::{Examine, Operation};
use crate::snapshot::Snapshot;

/// Whether the message is a component without its bytes: what it is can only be told with those there
/// are.
pub(super) fn is_bare(message: &v1::Resource) -> bool {
    component(message).is_some_and(|component| component.wasm.is_empty())
}

/// Puts the bytes there are in place of none, and what is known of them.
pub(super) fn keep(message: &mut v1::Component, before: Option<&v1::Resource>) {
    Component::keep(message, before.and_then(component));
}

/// Notes in a component that is to be put what it is, if it is not there yet.
///
/// # Errors
/// Why proxies cannot run it.
pub(super) fn examine(
    operation: &mut Operation,
    resource: &Resource,
    current: &Snapshot,
    examiner: &dyn Examine,
) -> Result<(), Vec<FieldError>> {
    let Some(v1::resource::Kind::Component(message)) = operation
        .put
        .as_mut()
        .and_then(|message| message.kind.as_mut())
    else {
        return Ok(());
    };
    let id = Id::new(Kind::Component, resource.name().clone());
    if let Some(there) = current.get(&id) {
        let there = there.data.encoded.decode().ok();
        message.facts = there
            .as_ref()
            .and_then(component)
            .and_then(|there| there.facts.clone());
        return Ok(());
    }
    let Resource::Component(component) = resource else {
        return Ok(());
    };
    match examiner.component(component) {
        Ok(facts) => {
            message.facts = Some(facts);
            Ok(())
        }
        Err(faults) => {
            let faults = faults.into_iter();
            Err(faults
                .map(|fault| FieldError::new(&id, "wasm", fault))
                .collect())
        }
    }
}

fn component(message: &v1::Resource) -> Option<&v1::Component> {
    match &message.kind {
        Some(v1::resource::Kind::Component(component)) => Some(component),
        _ => None,
    }
}
