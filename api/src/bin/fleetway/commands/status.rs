//! `status`: which proxy has which revision live.

use std::pin::pin;

use fleetway_api::{
    client::{Client, ClientError},
    rest::{Node, NodeState, Page},
};

use crate::{
    args::Status,
    output::{Colour, Output, note},
    table::{self, Cell, state},
};

pub(crate) async fn run(client: &Client, args: &Status, output: &mut Output) -> anyhow::Result<()> {
    let Some(pause) = args.watch else {
        return once(client, args, output).await;
    };
    // Listened to all along: a Ctrl-C while the server is slow ends it too.
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            interrupted = &mut interrupted => return Ok(interrupted?),
            seen = look(client, args, output) => seen?,
        }
        tokio::select! {
            interrupted = &mut interrupted => return Ok(interrupted?),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Shows the fleet on a fresh screen, or why it cannot be seen: the server may be away for a
/// while, which is not the end of the watch.
async fn look(client: &Client, args: &Status, output: &mut Output) -> anyhow::Result<()> {
    output.clear()?;
    match once(client, args, output).await {
        Ok(()) => output.line("")?,
        Err(error) if error.is::<ClientError>() => note(&format!("{error:#}")),
        Err(error) => return Err(error),
    }
    output.flush()
}

async fn once(client: &Client, args: &Status, output: &mut Output) -> anyhow::Result<()> {
    let page = select(client.nodes().await?, args.fleet.as_deref());
    if !output.is_table() {
        return output.body(&page);
    }
    if !page.items.is_empty() {
        table(&page.items, output)?;
    }
    let summary = summary(&page);
    output.line(&summary)
}

/// The nodes of a fleet.
pub(super) fn select(mut page: Page<Node>, fleet: Option<&str>) -> Page<Node> {
    if let Some(fleet) = fleet {
        page.items.retain(|node| node.fleet == fleet);
    }
    page
}

/// Prints nodes as a table.
pub(super) fn table(nodes: &[Node], output: &mut Output) -> anyhow::Result<()> {
    let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
    let rows: Vec<Vec<Cell>> = nodes
        .iter()
        .map(|node| {
            let colour = match node.state {
                NodeState::Live => Colour::Good,
                NodeState::Pending => Colour::Change,
                NodeState::Rejected | NodeState::Disconnected => Colour::Bad,
            };
            let error = faults(node, nodes);
            vec![
                Cell::new(node.id.as_str()),
                Cell::new(node.fleet.as_str()),
                Cell::new(node.address.as_str()),
                Cell::coloured(state(node.state), colour),
                Cell::new(number(node.live_revision)),
                Cell::new(number(node.lag)),
                Cell::new(error),
            ]
        })
        .collect();
    let headings = [
        "NODE",
        "FLEET",
        "ADDRESS",
        "STATE",
        "LIVE",
        "LAG",
        "LAST ERROR",
    ];
    table::print(output, &headings, &rows)
}

/// What is wrong with a node: its refusal, policies that keep failing, others of its id, faults of its stream.
fn faults(node: &Node, nodes: &[Node]) -> String {
    let mut all = Vec::new();
    if let Some(error) = &node.last_error {
        all.push(format!("revision {}: {}", error.revision, error.message));
    }
    for failing in &node.failing_policies {
        all.push(format!(
            "policy {} keeps failing since {}: {}",
            failing.policy, failing.since, failing.message
        ));
    }
    let same = nodes
        .iter()
        .filter(|other| other.connected && other.id == node.id)
        .count();
    if node.connected && same > 1 {
        all.push(format!(
            "{same} streams with this id: give each node its own"
        ));
    }
    match node.protocol_errors {
        0 => {}
        1 => all.push("1 protocol error".to_owned()),
        many => all.push(format!("{many} protocol errors")),
    }
    all.join("; ")
}

/// `3 nodes: 2 live, 1 rejected; the newest revision is 42`.
fn summary(page: &Page<Node>) -> String {
    let count = |wanted| {
        page.items
            .iter()
            .filter(|node| node.state == wanted)
            .count()
    };
    let counts: Vec<String> = [
        NodeState::Live,
        NodeState::Pending,
        NodeState::Rejected,
        NodeState::Disconnected,
    ]
    .into_iter()
    .filter(|wanted| count(*wanted) > 0)
    .map(|wanted| format!("{} {}", count(wanted), state(wanted).to_ascii_lowercase()))
    .collect();
    let nodes = match page.items.len() {
        0 => "no nodes".to_owned(),
        1 => format!("1 node: {}", counts.join(", ")),
        many => format!("{many} nodes: {}", counts.join(", ")),
    };
    format!("{nodes}; the newest revision is {}", page.revision)
}

#[cfg(test)]
mod tests {
    use fleetway_api::rest::FailingPolicy;

    use super::*;

    fn node(state: &str) -> Node {
        serde_json::from_value(serde_json::json!({
            "id": "a", "fleet": "blue", "address": "127.0.0.1:1", "build": "x",
            "connected": true, "since": "2026-01-01T00:00:00Z", "state": state,
        }))
        .unwrap()
    }

    #[test]
    fn nodes_of_one_id_and_protocol_errors_are_shown() {
        let mut nodes = vec![node("LIVE"), node("LIVE"), node("LIVE")];
        nodes[0].protocol_errors = 2;
        nodes[2].id = "b".into();
        let same = "2 streams with this id: give each node its own";
        assert_eq!(
            faults(&nodes[0], &nodes),
            format!("{same}; 2 protocol errors")
        );
        assert_eq!(faults(&nodes[1], &nodes), same);
        assert_eq!(faults(&nodes[2], &nodes), "");
    }

    #[test]
    fn policies_that_keep_failing_are_shown() {
        let mut node = node("LIVE");
        node.failing_policies.push(FailingPolicy {
            policy: "redact".into(),
            since: "2026-01-01T00:00:00Z".into(),
            cause: "timeout".into(),
            message: "it ran for longer than its time-out".into(),
        });
        assert_eq!(
            faults(&node, &[]),
            "policy redact keeps failing since 2026-01-01T00:00:00Z: it ran for longer than its time-out"
        );
    }

    #[test]
    fn the_summary_counts_the_nodes_by_state() {
        let mut page = Page {
            items: vec![node("LIVE"), node("REJECTED"), node("LIVE")],
            next_page_token: None,
            revision: 42,
        };
        assert_eq!(
            summary(&page),
            "3 nodes: 2 live, 1 rejected; the newest revision is 42"
        );
        page = select(page, Some("green"));
        assert_eq!(summary(&page), "no nodes; the newest revision is 42");
    }
}
