//! `policy componentize`: a core module becomes a component.

use anyhow::Context as _;
use wit_component::ComponentEncoder;

use super::fault;
use crate::{args::Componentize, output::Output};

pub(super) fn run(args: &Componentize, output: &mut Output) -> anyhow::Result<()> {
    let path = &args.module;
    let module = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let made = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode());
    let component = made.map_err(|error| {
        let message = format!(
            "no component can be made of it: {error:#}. Build a module for wasm32-unknown-unknown with `fleetway-policy`"
        );
        fault(path, "", message)
    })?;
    let to = args.component.display();
    std::fs::write(&args.component, &component).with_context(|| format!("cannot write {to}"))?;
    output.line(&format!("made {to}, {} bytes", component.len()))
}
