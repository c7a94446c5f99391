//! Waiting until a revision is live on the fleet.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use fleetway_api::{Id, client::Client, rest::TransactionResponse};
use serde_json::Value;

use crate::{
    args::Wait,
    exit::NotLive,
    output::{Output, note},
};

/// Waits, if that was asked for, until what a write led to is live, and says so.
///
/// # Errors
/// [`NotLive`] when the time is over, or all that do not have it refused it.
pub(crate) async fn wait(
    client: &Client,
    wait: &Wait,
    response: &TransactionResponse,
    output: &mut Output,
) -> anyhow::Result<()> {
    let Some(time) = wait.time else { return Ok(()) };
    if response.dry_run {
        return Ok(());
    }
    // What was done is seen before the wait.
    output.flush()?;
    let status = client.status(response.revision, time, &wait.nodes).await;
    let status = status.with_context(|| {
        format!(
            "revision {} is stored, but whether it is live is not known",
            response.revision
        )
    })?;
    if !status.live {
        return Err(NotLive {
            status,
            waited: time,
        }
        .into());
    }
    let text = if status.nodes == 0 {
        "no proxy is connected: it goes live on each as it connects".to_owned()
    } else {
        format!(
            "revision {} is live on {} of {} connected nodes",
            status.revision, status.nodes_live, status.nodes
        )
    };
    if output.is_table() {
        output.line(&text)
    } else {
        note(&text);
        Ok(())
    }
}

/// The most resources named in a note.
const NAMED: usize = 5;

/// Points out the fleets that these documents name and no connected node is of, where the write was
/// waited for: such a resource is live nowhere, and keeps nobody waiting.
pub(crate) async fn note_absent(
    client: &Client,
    wait: &Wait,
    response: &TransactionResponse,
    documents: &BTreeMap<&Id, Value>,
) {
    if wait.time.is_none() || response.dry_run {
        return;
    }
    let mut named: BTreeMap<&str, Vec<&Id>> = BTreeMap::new();
    for (id, document) in documents {
        let fleets = document.get("fleets").and_then(Value::as_array);
        for fleet in fleets.into_iter().flatten().filter_map(Value::as_str) {
            named.entry(fleet).or_default().push(id);
        }
    }
    if named.is_empty() {
        return;
    }
    // What was asked for is done: without an answer there is no note.
    let Ok(nodes) = client.nodes().await else {
        return;
    };
    let connected = nodes.items.iter().filter(|node| node.connected);
    let there: BTreeSet<&str> = connected.map(|node| node.fleet.as_str()).collect();
    if there.is_empty() {
        return;
    }
    for (fleet, ids) in named {
        if !there.contains(fleet) {
            note(&format!(
                "note: no connected node is of fleet {fleet} ({})",
                some_of(&ids)
            ));
        }
    }
}

fn some_of(ids: &[&Id]) -> String {
    let first: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| format!(" and {more} more"));
    first.join(", ") + &rest.unwrap_or_default()
}
