//! Runs policies.

/// The ABI.
#[allow(missing_docs, reason = "generated")]
pub mod abi {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        imports: { 
            "fleetway:policy/types.[method]body-reader.read": async | trappable,
            "fleetway:policy/types.[method]body-writer.write": async | trappable,
            default: trappable,
        },
        exports: { default: async },
    });
}
