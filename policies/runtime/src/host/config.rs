//! Configuration, time and randomness.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime},
};

use super::datetime;
use crate::{
    Failure,
    abi::{
        host::{clock, config, random},
        types::Datetime,
    },
    state::State,
};

/// The most random bytes at once.
const RANDOM_MAX: u32 = 64 * 1024;

/// What the monotonic clock counts from.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds on a clock that never goes back.
pub(super) fn monotonic() -> u64 {
    u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that are fit for secrets.
pub(super) fn random_bytes(length: u64) -> wasmtime::Result<Vec<u8>> {
    let length = u32::try_from(length)
        .ok()
        .filter(|length| *length <= RANDOM_MAX);
    let Some(length) = length else {
        return Err(
            Failure::Misuse("it wanted more than 64 KiB of randomness at once".into()).into(),
        );
    };
    let mut bytes = vec![0; usize::try_from(length)?];
    getrandom::fill(&mut bytes).map_err(|error| wasmtime::Error::msg(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn random_number() -> wasmtime::Result<u64> {
    getrandom::u64().map_err(|error| wasmtime::Error::msg(error.to_string()))
}

impl config::Host for State {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.unit.config.as_ref().to_owned())
    }

    fn policy(&mut self) -> wasmtime::Result<String> {
        Ok(self.unit.name.as_ref().to_owned())
    }
}

impl clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        Ok(datetime(SystemTime::now()))
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        Ok(monotonic())
    }
}

impl random::Host for State {
    fn bytes(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        random_bytes(length.into())
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        random_number()
    }
}
