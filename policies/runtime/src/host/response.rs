//! A response.

use http::{StatusCode, response::Parts};
use wasmtime::component::Resource;

use super::fields::Of;
use crate::{
    Failure,
    abi::types::{ChangeError, Fields, Host, HostResponse, Response},
    state::State,
};

impl State {
    fn head(&mut self) -> wasmtime::Result<&mut Parts> {
        self.response
            .as_deref_mut()
            .ok_or_else(|| Failure::Misuse("the head of the response has been sent".into()).into())
    }
}

impl HostResponse for State {
    fn status(&mut self, _: Resource<Response>) -> wasmtime::Result<u16> {
        Ok(self.head()?.status.as_u16())
    }

    fn set_status(
        &mut self,
        _: Resource<Response>,
        status: u16,
    ) -> wasmtime::Result<Result<(), ChangeError>> {
        let head = self.head()?;
        let status = StatusCode::from_u16(status).ok().filter(|status| {
            (200..600).contains(&status.as_u16())
                // Those have no body, and what has one is not made one of them.
                && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::RESET_CONTENT].contains(status)
        });
        let Some(status) = status else {
            return Ok(Err(ChangeError::Invalid(
                "takes 200 to 599 without 204, 205 and 304: respond with those".into(),
            )));
        };
        head.status = status;
        Ok(Ok(()))
    }

    fn headers(&mut self, _: Resource<Response>) -> wasmtime::Result<Resource<Fields>> {
        self.head()?;
        Of::Response.handle(self)
    }

    fn drop(&mut self, _: Resource<Response>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Host for State {}
