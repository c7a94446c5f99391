//! Configuration: from JSON to a policy, with errors that name the field.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::{Fault, Policy};

/// The configuration of a policy that takes none: `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Something wrong with a configuration, at a JSON Pointer (RFC 6901) such as `/fields/0`.
pub fn fault(path: impl Into<String>, message: impl Into<String>) -> Fault {
    Fault {
        path: path.into(),
        message: message.into(),
    }
}

/// So that `?` takes one where several could be.
impl From<Fault> for Vec<Fault> {
    fn from(fault: Fault) -> Self {
        vec![fault]
    }
}

/// The policy's name, as its resource has it.
pub fn policy_name() -> String {
    crate::raw::config::policy()
}

/// Makes a policy from its configuration as JSON.
pub(crate) fn build<P: Policy>(json: &str) -> Result<P, Vec<Fault>> {
    P::new(read(json)?)
}

/// Reads JSON into a type; what does not fit it is a fault that says where.
fn read<T: DeserializeOwned>(json: &str) -> Result<T, Fault> {
    // A list would do for a structure, its fields in their order.
    if json.trim_start().starts_with('[') {
        return Err(fault(
            "",
            "a list is no configuration: write an object, such as `{}`",
        ));
    }
    let mut parser = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut parser)
        .map_err(|error| fault(pointer(error.path()), without_position(error.inner())))?;
    parser.end().map_err(|error| fault("", error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut out = String::new();
    for segment in path {
        let key = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.replace('~', "~0").replace('/', "~1"),
            Segment::Unknown => continue,
        };
        out.push('/');
        out.push_str(&key);
    }
    out
}

/// What an error says, without line and column where it is of what the JSON means: the text was
/// merged of several, and its author has not seen it.
fn without_position(error: &serde_json::Error) -> String {
    let mut message = error.to_string();
    if error.is_data() {
        if let Some(at) = message.rfind(" at line ") {
            message.truncate(at);
        }
    }
    message
}

#[cfg(test)]
mod tests;
