//! `delete`: names or files → one transaction of deletions.

use std::collections::BTreeMap;

use fleetway_api::{Resource, client::Client, rest::Operation};

use super::{apply, targets};
use crate::{args::Delete, input::Input, live, output::Output};

pub(crate) async fn run(client: &Client, args: &Delete, output: &mut Output) -> anyhow::Result<()> {
    let operation = |id, version: Option<u64>| Operation {
        delete: Some(id),
        if_version: version.map(|version| version.to_string()),
        ..Operation::default()
    };
    let operations = if args.files.is_empty() {
        targets(&args.targets)?
            .into_iter()
            .map(|id| operation(id, None))
            .collect()
    } else {
        Input::read(&args.files, Resource::check)?
            .documents
            .into_iter()
            .map(|(_, document, ())| operation(document.id, document.if_version))
            .collect()
    };
    let response = apply::transact(client, operations, &args.write).await?;
    apply::report(client, &response, &BTreeMap::new(), output).await?;
    live::wait(client, &args.write.wait, &response, output).await
}
