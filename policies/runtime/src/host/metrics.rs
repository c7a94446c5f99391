//! A policy's own figures.

use crate::{SeriesKind, abi::host::metrics::Host, state::State};

impl Host for State {
    fn increment(
        &mut self,
        name: String,
        labels: Vec<(String, String)>,
        by: u64,
    ) -> wasmtime::Result<()> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "figures are shown as floating point"
        )]
        self.unit
            .shared
            .series(SeriesKind::Counter, name, labels, by as f64);
        Ok(())
    }

    fn set(
        &mut self,
        name: String,
        labels: Vec<(String, String)>,
        value: f64,
    ) -> wasmtime::Result<()> {
        self.unit
            .shared
            .series(SeriesKind::Gauge, name, labels, value);
        Ok(())
    }

    fn observe(
        &mut self,
        name: String,
        labels: Vec<(String, String)>,
        value: f64,
    ) -> wasmtime::Result<()> {
        self.unit
            .shared
            .series(SeriesKind::Histogram, name, labels, value);
        Ok(())
    }
}
