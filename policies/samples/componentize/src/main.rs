//! Makes a component of a core module: `componentize MODULE COMPONENT`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(module), Some(component), None) = (args.next(), args.next(), args.next()) else {
        return Err("usage: componentize MODULE COMPONENT".into());
    };
    let bytes = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&std::fs::read(module)?)?
        .encode()?;
    std::fs::write(component, bytes)?;
    Ok(())
}
