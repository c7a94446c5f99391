//! Bodies, whole and as they come.

use std::{
    future::poll_fn,
    sync::{MutexGuard, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use wasmtime::component::Resource;

use super::fields::Of;
use crate::{
    Buffered, Failure,
    abi::types::{
        BodyReader, BodyWriter, Buffer, ChangeError, Fields, HostBodyReader, HostBodyWriter,
        HostBuffer,
    },
    body::Pipe,
    state::State,
};

/// The most bytes of one write.
const WRITE_MAX: usize = 1024 * 1024;

impl State {
    fn held(&mut self) -> wasmtime::Result<&mut Buffered> {
        self.buffer
            .as_mut()
            .ok_or_else(|| Failure::Misuse("the body has been sent".into()).into())
    }

    fn pipe(&self) -> wasmtime::Result<MutexGuard<'_, Pipe>> {
        let pipe = self.pipe.as_ref();
        pipe.map(|pipe| pipe.lock().unwrap_or_else(PoisonError::into_inner))
            .ok_or_else(|| Failure::Misuse("there is no body passing through".into()).into())
    }
}

impl HostBuffer for State {
    fn size(&mut self, _: Resource<Buffer>) -> wasmtime::Result<u64> {
        Ok(self.held()?.bytes.len() as u64)
    }

    fn bytes(&mut self, _: Resource<Buffer>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.held()?.bytes.to_vec())
    }

    fn replace(
        &mut self,
        _: Resource<Buffer>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), ChangeError>> {
        let held = self.held()?;
        if bytes.len() > held.max {
            return Ok(Err(ChangeError::TooLarge));
        }
        held.bytes = bytes.into();
        held.replaced = true;
        Ok(Ok(()))
    }

    fn trailers(&mut self, _: Resource<Buffer>) -> wasmtime::Result<Option<Resource<Fields>>> {
        let there = self.held()?.trailers.is_some();
        there.then(|| Of::Trailers.handle(self)).transpose()
    }

    fn drop(&mut self, _: Resource<Buffer>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostBodyReader for State {
    async fn read(&mut self, _: Resource<BodyReader>) -> wasmtime::Result<Option<Vec<u8>>> {
        // Who polls this gives the pipe what it wants and polls again: nobody needs to be woken.
        let read = poll_fn(|_| {
            let mut pipe = match self.pipe() {
                Ok(pipe) => pipe,
                Err(error) => return Poll::Ready(Err(error)),
            };
            match pipe.input.take() {
                Some(bytes) => Poll::Ready(Ok((Some(bytes), None))),
                None if pipe.ended => Poll::Ready(Ok((None, pipe.trailers.take()))),
                None => {
                    pipe.wants = true;
                    Poll::Pending
                }
            }
        });
        let (bytes, trailers) = read.await?;
        if trailers.is_some() {
            self.trailers = trailers;
        }
        self.waited();
        Ok(bytes.map(|bytes| bytes.to_vec()))
    }

    fn trailers(&mut self, _: Resource<BodyReader>) -> wasmtime::Result<Option<Resource<Fields>>> {
        let there = self.trailers.is_some();
        there.then(|| Of::Trailers.handle(self)).transpose()
    }

    fn drop(&mut self, _: Resource<BodyReader>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostBodyWriter for State {
    async fn write(&mut self, _: Resource<BodyWriter>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        if bytes.len() > WRITE_MAX {
            return Err(
                Failure::Misuse("it wrote more than 1 MiB of a body at once".into()).into(),
            );
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let mut bytes = Some(Bytes::from(bytes));
        let write = poll_fn(|_| {
            let mut pipe = match self.pipe() {
                Ok(pipe) => pipe,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if pipe.output.is_some() {
                return Poll::Pending;
            }
            pipe.output = bytes.take();
            Poll::Ready(Ok(()))
        });
        write.await?;
        self.waited();
        Ok(())
    }

    fn drop(&mut self, _: Resource<BodyWriter>) -> wasmtime::Result<()> {
        Ok(())
    }
}
