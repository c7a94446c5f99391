//! `version`: of this program and of the server.

use fleetway_api::client::{Client, ClientError};
use serde::Serialize;

use crate::output::{Output, note};

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

pub(crate) async fn run(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let mut versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        server: None,
    };
    let server = match client.version().await {
        Ok(Some(answer)) => {
            versions.server = Some(answer.version.clone());
            format!("{} ({})", answer.version, client.server())
        }
        Ok(None) => format!("not told by {}", client.server()),
        Err(ClientError::Unreachable { .. } | ClientError::TimedOut { .. }) => {
            format!("no answer from {}", client.server())
        }
        Err(error) => return Err(error.into()),
    };
    if !output.is_table() {
        if versions.server.is_none() {
            note(&format!("server: {server}"));
        }
        return output.body(&versions);
    }
    output.line(&format!("client: {}", versions.client))?;
    output.line(&format!("server: {server}"))
}
