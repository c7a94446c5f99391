//! `validate`: the server's checks, without the server.

use std::sync::Arc;

use fleetway_api::{Change, Entry, ResourceSet};

use crate::{args::Validate, exit::Faults, input::Input, output::Output};

const HINT: &str = "Each resource is valid by itself, but they do not fit together. If what they refer to is elsewhere, add its files with -f, give --each, or check against the server with `fleetway apply --dry-run`";

pub(crate) fn run(args: &Validate, output: &mut Output) -> anyhow::Result<()> {
    let input = Input::read(&args.files.files)?;
    if !args.each {
        let changes = input
            .documents
            .iter()
            .map(|(_, _, resource)| {
                Change::Put(Arc::new(Entry {
                    resource: resource.clone(),
                    data: (),
                }))
            })
            .collect();
        if let Err(rejection) = ResourceSet::default().apply(changes) {
            return Err(Faults {
                all: input.locate(rejection.errors),
                hint: HINT,
            }
            .into());
        }
    }
    let ids: Vec<_> = input.ids().cloned().collect();
    if !output.is_table() {
        return output.body(&ids);
    }
    for id in &ids {
        output.line(&format!("valid  {id}"))?;
    }
    let together = if args.each {
        "each by itself"
    } else {
        "together"
    };
    let count = ids.len();
    let noun = if count == 1 { "resource" } else { "resources" };
    output.line(&format!("{count} {noun}, valid {together}"))
}
