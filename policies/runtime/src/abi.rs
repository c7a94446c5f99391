//! The ABI in `policies/wit`, as Rust types and traits.

#![allow(missing_docs, reason = "generated; the WIT says what each is")]
#![allow(clippy::pedantic, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "policy",
    imports: {
        "fleetway:policy/types.[method]body-reader.read": async | trappable,
        "fleetway:policy/types.[method]body-writer.write": async | trappable,
        "fleetway:policy/http-client.send": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

pub use exports::fleetway::policy as stages;
pub use fleetway::policy as host;
pub use fleetway::policy::types;
