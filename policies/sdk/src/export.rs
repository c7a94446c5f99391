//! From the ABI's exports to a policy's traits.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::Policy;

/// A policy that [`export!`](crate::export!) has made a component of.
pub trait Instance: Policy {
    /// Where the policy is kept from stage to stage.
    fn slot() -> &'static LocalKey<RefCell<Option<Self>>>;
}

/// Makes a component of a policy that takes part in the stages named: any of `pre_route`,
/// `pre_upstream`, `post_response`, `request_body` and `response_body`.
///
/// A crate has one, and is of type `cdylib`.
#[macro_export]
macro_rules! export {
    ($policy:ident: $($stage:ident),+ $(,)?) => {
        impl $crate::export::Instance for $policy {
            fn slot() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<Option<Self>>> {
                ::std::thread_local! {
                    static SLOT: ::std::cell::RefCell<Option<$policy>> =
                        const { ::std::cell::RefCell::new(None) };
                }
                &SLOT
            }
        }
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::abi::configuration::export_configuration!(
                $policy with_types_in $crate::abi::configuration
            );
        };
        $( $crate::__export_stage!($stage $policy); )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_stage {
    (pre_route $policy:ident) => {
        const _: fn() = || $crate::export::is_pre_route::<$policy>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::abi::pre_route::export_pre_route!(
                $policy with_types_in $crate::abi::pre_route
            );
        };
    };
    (pre_upstream $policy:ident) => {
        const _: fn() = || $crate::export::is_pre_upstream::<$policy>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::abi::pre_upstream::export_pre_upstream!(
                $policy with_types_in $crate::abi::pre_upstream
            );
        };
    };
    (post_response $policy:ident) => {
        const _: fn() = || $crate::export::is_post_response::<$policy>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::abi::post_response::export_post_response!(
                $policy with_types_in $crate::abi::post_response
            );
        };
    };
    (request_body $policy:ident) => {
        const _: fn() = || $crate::export::is_request_body::<$policy>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::abi::request_body::export_request_body!(
                $policy with_types_in $crate::abi::request_body
            );
        };
    };
    (response_body $policy:ident) => {
        const _: fn() = || $crate::export::is_response_body::<$policy>();
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::abi::response_body::export_response_body!(
                $policy with_types_in $crate::abi::response_body
            );
        };
    };
    ($other:ident $policy:ident) => {
        compile_error!(concat!(
            "`",
            stringify!($other),
            "` is no stage: name `pre_route`, `pre_upstream`, ",
            "`post_response`, `request_body` or `response_body`"
        ));
    };
}

macro_rules! checks {
    ($($name:ident: $stage:path),+) => {
        $(pub fn $name<P: $stage>() {})+
    };
}
checks!(
    is_pre_route: crate::PreRoute,
    is_pre_upstream: crate::PreUpstream,
    is_post_response: crate::PostResponse,
    is_request_body: crate::RequestBody,
    is_response_body: crate::ResponseBody
);

#[cfg(target_family = "wasm")]
mod guest;
