//! The little of WASI that programs of common languages cannot do without: time and randomness. Any
//! other part of it is there by name alone, and ends a call that uses it.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::Linker;

use super::config::{monotonic, random_bytes, random_number};
use crate::state::State;

/// Nanoseconds.
const RESOLUTION: u32 = 1000;

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.0")?;
    clock.func_wrap("now", |_, (): ()| Ok((monotonic(),)))?;
    clock.func_wrap("resolution", |_, (): ()| Ok((u64::from(RESOLUTION),)))?;
    let mut clock = linker.instance("wasi:clocks/wall-clock@0.2.0")?;
    clock.func_wrap("now", |_, (): ()| Ok((super::datetime(SystemTime::now()),)))?;
    clock.func_wrap("resolution", |_, (): ()| {
        Ok((super::datetime(
            UNIX_EPOCH + std::time::Duration::from_nanos(RESOLUTION.into()),
        ),))
    })?;
    let mut random = linker.instance("wasi:random/random@0.2.0")?;
    random.func_wrap("get-random-bytes", |_, (length,): (u64,)| {
        Ok((random_bytes(length)?,))
    })?;
    random.func_wrap("get-random-u64", |_, (): ()| Ok((random_number()?,)))?;
    let mut random = linker.instance("wasi:random/insecure@0.2.0")?;
    random.func_wrap("get-insecure-random-bytes", |_, (length,): (u64,)| {
        Ok((random_bytes(length)?,))
    })?;
    random.func_wrap("get-insecure-random-u64", |_, (): ()| {
        Ok((random_number()?,))
    })?;
    let mut random = linker.instance("wasi:random/insecure-seed@0.2.0")?;
    random.func_wrap("insecure-seed", |_, (): ()| {
        Ok(((random_number()?, random_number()?),))
    })?;
    Ok(())
}
