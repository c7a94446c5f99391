//! The traits that the generated exports call, for every policy.

use super::Instance;
use crate::abi;
use crate::abi::imports::fleetway::policy::types as raw;
use crate::{
    BodyReader, BodyWriter, Buffer, Decision, Error, Exchange, Fault, Outcome, PostResponse,
    PreRoute, PreUpstream, Request, RequestBody, Response, ResponseBody, Upstream,
};

/// Calls a policy, which is made first if this is its first stage.
fn with<P: Instance, T>(call: impl FnOnce(&mut P) -> Result<T, Error>) -> T {
    crate::logging::install();
    P::slot().with(|slot| {
        let mut slot = slot.borrow_mut();
        let policy = slot.get_or_insert_with(|| {
            let json = abi::imports::fleetway::policy::config::get();
            crate::config::build(&json).unwrap_or_else(|faults: Vec<Fault>| {
                for Fault { path, message } in faults {
                    log::error!("configuration: {path}: {message}");
                }
                std::process::abort()
            })
        });
        call(policy).unwrap_or_else(|error| {
            log::error!("{error}");
            std::process::abort()
        })
    })
}

impl<P: Instance + PreRoute> abi::pre_route::exports::fleetway::policy::pre_route::Guest for P {
    fn handle(request: &raw::Request) -> Decision {
        with(|policy: &mut P| policy.pre_route(&Request(request)))
    }
}

impl<P: Instance + PreUpstream> abi::pre_upstream::exports::fleetway::policy::pre_upstream::Guest
    for P
{
    fn handle(
        request: &raw::Request,
        upstream: &raw::Upstream,
        body: Option<&raw::Buffer>,
    ) -> Decision {
        with(|policy: &mut P| {
            policy.pre_upstream(&Request(request), &Upstream(upstream), body.map(Buffer))
        })
    }
}

impl<P: Instance + PostResponse> abi::post_response::exports::fleetway::policy::post_response::Guest
    for P
{
    fn handle(
        request: &raw::Request,
        response: &raw::Response,
        exchange: Exchange,
        body: Option<&raw::Buffer>,
    ) -> Outcome {
        let (request, response) = (Request(request), Response(response));
        with(|policy: &mut P| {
            policy.post_response(&request, &response, &exchange, body.map(Buffer))
        })
    }
}

impl<P: Instance + RequestBody> abi::request_body::exports::fleetway::policy::request_body::Guest
    for P
{
    fn transform(reader: &raw::BodyReader, writer: &raw::BodyWriter) {
        with(|policy: &mut P| policy.request_body(BodyReader::new(reader), BodyWriter(writer)));
    }
}

impl<P: Instance + ResponseBody> abi::response_body::exports::fleetway::policy::response_body::Guest
    for P
{
    fn transform(reader: &raw::BodyReader, writer: &raw::BodyWriter) {
        with(|policy: &mut P| policy.response_body(BodyReader::new(reader), BodyWriter(writer)));
    }
}

impl<P: Instance> abi::configuration::exports::fleetway::policy::configuration::Guest for P {
    fn validate(config: String) -> Result<(), Vec<Fault>> {
        crate::logging::install();
        crate::config::build::<P>(&config).map(|_| ())
    }
}
