//! The little of WASI that programs of common languages cannot do without: time and randomness. Any
//! other part of it is there by name alone, and ends a call that uses it.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use wasmtime::component::Linker;

use super::config::{monotonic, random_bytes, random_number};
use crate::{describe::is_wasi, state::State};

/// Nanoseconds.
const RESOLUTION: u32 = 1000;

/// Adds it for what a component imports, in the versions of 0.2 it asks for. What is left of them is
/// filled in afterwards by these very names, so that versions that go together would not be found.
pub(crate) fn add_to_linker(
    linker: &mut Linker<State>,
    imports: &[String],
) -> wasmtime::Result<()> {
    let of_wasi = imports.iter().filter(|import| is_wasi(import));
    let versions: BTreeSet<&str> = of_wasi
        .filter_map(|import| Some(import.rsplit_once('@')?.1))
        // Not those before its release, which are others.
        .filter(|version| version.starts_with("0.2.") && !version.contains('-'))
        .collect();
    for version in versions {
        add_version(linker, version)?;
    }
    Ok(())
}

fn add_version(linker: &mut Linker<State>, version: &str) -> wasmtime::Result<()> {
    let mut clock = linker.instance(&format!("wasi:clocks/monotonic-clock@{version}"))?;
    clock.func_wrap("now", |_, (): ()| Ok((monotonic(),)))?;
    clock.func_wrap("resolution", |_, (): ()| Ok((u64::from(RESOLUTION),)))?;
    let mut clock = linker.instance(&format!("wasi:clocks/wall-clock@{version}"))?;
    clock.func_wrap("now", |_, (): ()| Ok((super::datetime(SystemTime::now()),)))?;
    clock.func_wrap("resolution", |_, (): ()| {
        Ok((super::datetime(
            UNIX_EPOCH + std::time::Duration::from_nanos(RESOLUTION.into()),
        ),))
    })?;
    let mut random = linker.instance(&format!("wasi:random/random@{version}"))?;
    random.func_wrap("get-random-bytes", |_, (length,): (u64,)| {
        Ok((random_bytes(length)?,))
    })?;
    random.func_wrap("get-random-u64", |_, (): ()| Ok((random_number()?,)))?;
    let mut random = linker.instance(&format!("wasi:random/insecure@{version}"))?;
    random.func_wrap("get-insecure-random-bytes", |_, (length,): (u64,)| {
        Ok((random_bytes(length)?,))
    })?;
    random.func_wrap("get-insecure-random-u64", |_, (): ()| {
        Ok((random_number()?,))
    })?;
    let mut random = linker.instance(&format!("wasi:random/insecure-seed@{version}"))?;
    random.func_wrap("insecure-seed", |_, (): ()| {
        Ok(((random_number()?, random_number()?),))
    })?;
    Ok(())
}
