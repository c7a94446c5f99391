//! Values all calls of a policy share.

use std::time::{Duration, Instant};

use crate::{
    abi::host::key_value::{Entry, Host, SetError},
    state::State,
};

fn end(ttl: Option<u64>, now: Instant) -> Option<Instant> {
    // What lasts longer than the clock can tell does not end.
    now.checked_add(Duration::from_millis(ttl?))
}

impl Host for State {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Entry>> {
        Ok(self.unit.shared.values().get(&key, Instant::now()))
    }

    fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> wasmtime::Result<Result<u64, SetError>> {
        let now = Instant::now();
        Ok(self
            .unit
            .shared
            .values()
            .set(key, value, end(ttl, now), now))
    }

    fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> wasmtime::Result<Result<u64, SetError>> {
        let now = Instant::now();
        let mut values = self.unit.shared.values();
        if values.get(&key, now).map(|entry| entry.version) != expected {
            return Ok(Err(SetError::Changed));
        }
        Ok(values.set(key, value, end(ttl, now), now))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<bool> {
        Ok(self.unit.shared.values().delete(&key, Instant::now()))
    }
}
