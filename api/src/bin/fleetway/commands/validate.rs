//! `validate`: the server's checks, without the server.

use std::{sync::Arc, time::SystemTime};

use fleetway_api::{Change, Entry, FieldError, Invalid, Resource, ResourceSet};

use crate::{args::Validate, exit::Faults, input::Input, output::Output};

const HINT: &str = "Resources that are valid by themselves do not fit together. If what they refer to is elsewhere, add its files with -f, give --each, or check against the server with `fleetway apply --dry-run`";

pub(crate) fn run(args: &Validate, output: &mut Output) -> anyhow::Result<()> {
    let (input, mut faults, invalid) = match Input::try_read(&args.files.files, Resource::read)? {
        Ok(input) => (input, Vec::new(), Invalid::default()),
        Err(faulty) => {
            let documents = faulty.valid;
            let invalid = Invalid::of(&faulty.invalid);
            (Input { documents }, faulty.faults, invalid)
        }
    };
    faults.extend(input.locate(unusable(&input)));
    let mut hint = "";
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
        let together = input.locate(ResourceSet::default().faults(changes, &invalid));
        if !together.is_empty() {
            hint = HINT;
        }
        faults.extend(together);
    }
    if !faults.is_empty() {
        return Err(Faults { all: faults, hint }.into());
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

/// What the server would not take today.
fn unusable(input: &Input<Resource>) -> Vec<FieldError> {
    let now = SystemTime::now();
    let resources = input.documents.iter().map(|(_, _, resource)| resource);
    resources
        .flat_map(|resource| match resource {
            Resource::Secret(secret) => secret.unusable(now),
            _ => Vec::new(),
        })
        .collect()
}
