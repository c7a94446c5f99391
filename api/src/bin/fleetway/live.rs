//! Waiting until a revision is live on the fleet.

use anyhow::Context as _;
use fleetway_api::{client::Client, rest::TransactionResponse};

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
