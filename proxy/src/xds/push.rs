//! From the responses of one push to the configuration they ask for: pure, and all or nothing.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, Resource as WireResource,
};
use fleetway_api::{
    FieldError, Id, Invalid, Kind, Name, Resource,
    proto::{type_url, v1},
};
use prost::Message as _;

use super::held::{Candidate, Edit, Held, Revision};
use crate::snapshot::{Received, Version};

/// The name of the barrier, the one resource of its type.
pub(super) const BARRIER: &str = "revision";

/// Responses that take effect together.
pub(super) struct Push {
    /// What they change.
    pub(super) base: Held,
    /// In the order they came. With a barrier, its response is the last one.
    pub(super) responses: Vec<DeltaDiscoveryResponse>,
    /// Whether the last one is the barrier.
    pub(super) barrier: bool,
}

/// Without the responses themselves: the bytes of secrets are private.
impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("base", self.base.revision())
            .field("responses", &self.responses.len())
            .field("barrier", &self.barrier)
            .finish()
    }
}

impl Push {
    /// Decodes and validates everything and makes the changes to the base.
    ///
    /// # Errors
    /// Every fault of every response, and of the set that the resources without would form.
    pub(super) fn build(mut self) -> Result<Candidate, Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut edits = BTreeMap::new();
        let mut invalid = Invalid::default();
        let revision = if self.barrier {
            let barrier = self.responses.pop().unwrap_or_default();
            let revision = read_barrier(&barrier, &mut faults);
            for response in &self.responses {
                check_revision(response, revision.as_ref(), &mut faults);
            }
            revision.unwrap_or_default()
        } else {
            self.base.revision().next_counted(0)
        };
        for response in self.responses {
            read_response(response, &mut edits, &mut invalid, &mut faults);
        }
        if faults.is_empty() {
            return self.base.edit(edits, revision);
        }
        faults.extend(self.base.faults(edits, &invalid));
        Err(faults)
    }
}

/// Reads the barrier's number and time.
fn read_barrier(
    response: &DeltaDiscoveryResponse,
    faults: &mut Vec<FieldError>,
) -> Option<Revision> {
    let mut fault = |message: String| faults.push(FieldError::new(BARRIER, "", message));
    let [wire] = response.resources.as_slice() else {
        fault(format!(
            "the barrier carries {} resources instead of one",
            response.resources.len()
        ));
        return None;
    };
    let Some(any) = &wire.resource else {
        fault("carries no message".to_owned());
        return None;
    };
    if any.type_url != type_url::REVISION {
        fault(wrong_type(&any.type_url, type_url::REVISION));
        return None;
    }
    match v1::Revision::decode(any.value.as_slice()) {
        Ok(revision) => Some(Revision {
            number: revision.number,
            time_ms: revision.time_ms,
            version: Some(Version::from(&*wire.version)),
        }),
        Err(error) => {
            fault(format!("cannot be decoded: {error}"));
            None
        }
    }
}

/// A response belongs to its barrier: one of another revision would make half of that visible.
fn check_revision(
    response: &DeltaDiscoveryResponse,
    barrier: Option<&Revision>,
    faults: &mut Vec<FieldError>,
) {
    let Some(barrier) = barrier else { return };
    if response.system_version_info.parse() != Ok(barrier.number) {
        faults.push(FieldError::new(
            BARRIER,
            "number",
            format!(
                "is {}, but the response of {} before it is of revision \"{}\"",
                barrier.number, response.type_url, response.system_version_info
            ),
        ));
    }
}

/// Reads one response into the edits. A later response has the last word on a resource.
fn read_response(
    response: DeltaDiscoveryResponse,
    edits: &mut BTreeMap<Id, Edit>,
    invalid: &mut Invalid,
    faults: &mut Vec<FieldError>,
) {
    let Some(kind) = Kind::from_type_url(&response.type_url) else {
        faults.push(FieldError::new(
            "",
            "",
            format!(
                "\"{}\" is a type this proxy does not know and did not subscribe to",
                response.type_url
            ),
        ));
        return;
    };
    let mut seen: HashSet<Id> = HashSet::with_capacity(response.resources.len());
    let mut note = |id: &Id, faults: &mut Vec<FieldError>| {
        if !seen.insert(id.clone()) {
            faults.push(FieldError::new(id, "", "is in the response more than once"));
        }
    };
    for wire in response.resources {
        let name = Name::new(&wire.name);
        match read_resource(kind, wire) {
            Ok((id, edit)) => {
                note(&id, faults);
                edits.insert(id, edit);
            }
            Err(found) => {
                faults.extend(found);
                invalid.note(name.ok().map(|name| Id::new(kind, name)));
            }
        }
    }
    for name in response.removed_resources {
        // What cannot be a name was never held: removing it is nothing.
        let Ok(name) = Name::new(&name) else { continue };
        let id = Id::new(kind, name);
        note(&id, faults);
        edits.insert(id, Edit::Remove);
    }
}

/// Reads one resource. Three ways to fail: its bytes cannot be read, it cannot be named, it is not
/// valid.
fn read_resource(kind: Kind, wire: WireResource) -> Result<(Id, Edit), Vec<FieldError>> {
    let label = if wire.name.is_empty() {
        kind.plural().to_owned()
    } else {
        format!("{}/{}", kind.plural(), wire.name)
    };
    let fault = |field: &str, message: String| vec![FieldError::new(&label, field, message)];
    let Some(any) = wire.resource else {
        return Err(fault("", "carries no message".to_owned()));
    };
    if any.type_url != kind.type_url() {
        return Err(fault("", wrong_type(&any.type_url, kind.type_url())));
    }
    // A component shares its bytes with the wire form.
    let value = Bytes::from(any.value);
    let message = fleetway_api::decode_message(kind, value.clone())
        .map_err(|error| fault("", format!("cannot be decoded: {error}")))?;
    let resource = Resource::read(message).map_err(|mut faults| {
        // Under the name it has on the stream, even where the one in the message is unusable.
        for fault in &mut faults {
            fault.resource.clone_from(&label);
        }
        faults
    })?;
    if resource.name().as_str() != wire.name {
        return Err(fault(
            "name",
            format!(
                "is \"{}\" in the message and \"{}\" on the stream",
                resource.name(),
                wire.name
            ),
        ));
    }
    let id = resource.id();
    let edit = Edit::Put {
        received: Received {
            version: Version::from(&*wire.version),
            wire: value,
        },
        resource,
    };
    Ok((id, edit))
}

fn wrong_type(found: &str, expected: &str) -> String {
    format!("its type is \"{found}\" in a response of {expected}")
}
