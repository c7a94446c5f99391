//! Notes that go with a request.

use crate::{abi::host::metadata::Host, state::State};

impl Host for State {
    fn get(&mut self, policy: String, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.subject.notebook.get(&policy, &key))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<bool> {
        Ok(self.subject.notebook.set(&self.unit.name, key, value))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<bool> {
        Ok(self.subject.notebook.delete(&self.unit.name, &key))
    }
}
