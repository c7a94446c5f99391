//! The ABI: what is generated from `policies/wit`.
//!
//! Each export is a world of its own with its own macro, and [`export!`](crate::export!) calls those
//! of the stages it is given.
#![allow(missing_docs, clippy::all, reason = "generated")]
#![allow(
    clippy::indexing_slicing,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// What a host gives.
pub mod imports {
    wit_bindgen::generate!({
        world: "imports",
        path: "../wit",
        additional_derives: [Clone, PartialEq],
        generate_unused_types: true,
        runtime_path: "::fleetway_policy::__private::rt",
    });
}

macro_rules! export_world {
    ($module:ident, $world:literal, $name:literal, $path:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                world: $world,
                path: "../wit",
                with: { "fleetway:policy/types@1.0.0": crate::abi::imports::fleetway::policy::types },
                pub_export_macro: true,
                export_macro_name: $name,
                default_bindings_module: $path,
                runtime_path: "::fleetway_policy::__private::rt",
            });
        }
    };
}

export_world!(
    pre_route,
    "export-pre-route",
    "export_pre_route",
    "::fleetway_policy::abi::pre_route"
);
export_world!(
    pre_upstream,
    "export-pre-upstream",
    "export_pre_upstream",
    "::fleetway_policy::abi::pre_upstream"
);
export_world!(
    post_response,
    "export-post-response",
    "export_post_response",
    "::fleetway_policy::abi::post_response"
);
export_world!(
    request_body,
    "export-request-body",
    "export_request_body",
    "::fleetway_policy::abi::request_body"
);
export_world!(
    response_body,
    "export-response-body",
    "export_response_body",
    "::fleetway_policy::abi::response_body"
);

/// The one that uses none of the types.
pub mod configuration {
    wit_bindgen::generate!({
        world: "export-configuration",
        path: "../wit",
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_configuration",
        default_bindings_module: "::fleetway_policy::abi::configuration",
        runtime_path: "::fleetway_policy::__private::rt",
    });
}
