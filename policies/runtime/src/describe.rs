//! What a component says of itself.

use std::fmt;

use wasmparser::{Parser, Payload};
use wasmtime::{Engine, component::Component};

use crate::CompileError;

/// The version of the ABI, in `policies/wit`.
pub const ABI_VERSION: &str = "1.0.0";
/// Its package.
const PACKAGE: &str = "fleetway:policy/";
/// The part of a component that describes its configuration (JSON Schema).
const SCHEMA_SECTION: &str = "fleetway:config-schema";

/// A stage of a request at which policies are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before a route is chosen.
    PreRoute,
    /// Before the request is sent.
    PreUpstream,
    /// Once there is a response.
    PostResponse,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::PreRoute, Self::PreUpstream, Self::PostResponse];

    /// As the ABI has it: `pre-route`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreRoute => "pre-route",
            Self::PreUpstream => "pre-upstream",
            Self::PostResponse => "post-response",
        }
    }

    /// As documents have it: `PRE_ROUTE`.
    #[must_use]
    pub const fn in_documents(self) -> &'static str {
        match self {
            Self::PreRoute => "PRE_ROUTE",
            Self::PreUpstream => "PRE_UPSTREAM",
            Self::PostResponse => "POST_RESPONSE",
        }
    }

    /// Its place in [`Stage::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a component says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its size in bytes.
    pub size: usize,
    /// The stages it has something to do at.
    pub stages: Vec<Stage>,
    /// Whether it can pass the bodies of requests through itself.
    pub request_body: bool,
    /// Whether it can pass the bodies of responses through itself.
    pub response_body: bool,
    /// Whether it looks at configurations itself.
    pub validates: bool,
    /// What it imports, with versions.
    pub imports: Vec<String>,
    /// A JSON Schema of its configuration.
    pub schema: Option<String>,
}

/// Why a component cannot do what it is to do at a stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It does nothing there.
    #[error("is {wanted}, at which the component does nothing: give {has}")]
    Stage {
        /// The stage.
        wanted: &'static str,
        /// Those it has.
        has: String,
    },
    /// Bodies cannot pass through it.
    #[error(
        "is {wanted}, where `body: STREAMED` of the policy needs a component that exports {export}: choose another `body`, or another component"
    )]
    Body {
        /// The stage.
        wanted: &'static str,
        /// What it lacks.
        export: &'static str,
    },
}

impl Description {
    /// Whether it passes bodies as they come, of requests or of responses.
    #[must_use]
    pub const fn streams(&self) -> bool {
        self.request_body || self.response_body
    }

    /// Whether it can be attached at a stage, with bodies that pass through it if `streamed`.
    ///
    /// # Errors
    /// Why not: what is wrong with the stage.
    pub fn fits(&self, stage: Stage, streamed: bool) -> Result<(), Misfit> {
        let wanted = stage.in_documents();
        if !self.stages.contains(&stage) {
            let has: Vec<_> = self.stages.iter().map(|has| has.in_documents()).collect();
            let has = has.join(" or ");
            return Err(Misfit::Stage { wanted, has });
        }
        let export = match stage {
            Stage::PreRoute => return Ok(()),
            Stage::PreUpstream => "request-body",
            Stage::PostResponse => "response-body",
        };
        // One of the two can be meant for the other stage: bodies pass this one by.
        if streamed && !self.streams() {
            return Err(Misfit::Body { wanted, export });
        }
        Ok(())
    }
}

/// The names a component imports.
pub(crate) fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let of = component.component_type();
    of.imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether an import is of the parts of WASI that are there, if only to end a call that uses them.
pub(crate) fn is_wasi(import: &str) -> bool {
    import.starts_with("wasi:")
}

/// The imports nobody here has heard of, or of a later version.
///
/// # Errors
/// When there are some.
pub(crate) fn check_imports(imports: &[String]) -> Result<(), CompileError> {
    let missing: Vec<&str> = imports
        .iter()
        .map(String::as_str)
        .filter(|name| !is_wasi(name) && !is_known(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CompileError::Imports(missing.join(", ")))
}

/// Whether an import is one of the ABI's, of this version or one before it.
fn is_known(import: &str) -> bool {
    const KNOWN: [&str; 9] = [
        "types",
        "config",
        "log",
        "clock",
        "random",
        "metrics",
        "metadata",
        "key-value",
        "http-client",
    ];
    let Some((name, version)) = import
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.split_once('@'))
    else {
        return false;
    };
    KNOWN.contains(&name) && version == ABI_VERSION
}

/// How deep components may be within each other. Tools put together two or three.
const NESTING_MAX: usize = 16;

/// Whether what is within each other in a component is not too deep for what reads it next, which
/// takes room for each level.
///
/// # Errors
/// When it is, or cannot be read.
pub(crate) fn check_nesting(bytes: &[u8]) -> Result<(), CompileError> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(_) => {}
            // What reads it next tells what is wrong.
            Err(_) => return Ok(()),
        }
        if depth > NESTING_MAX {
            return Err(CompileError::Invalid(format!(
                "components are within each other more than {NESTING_MAX} deep"
            )));
        }
    }
    Ok(())
}

/// The JSON Schema in a component, or in a module within it.
pub(crate) fn schema(bytes: &[u8]) -> Option<String> {
    Parser::new(0)
        .parse_all(bytes)
        .map_while(Result::ok)
        .find_map(|payload| match payload {
            Payload::CustomSection(section) if section.name() == SCHEMA_SECTION => {
                Some(String::from_utf8_lossy(section.data()).into_owned())
            }
            _ => None,
        })
}
