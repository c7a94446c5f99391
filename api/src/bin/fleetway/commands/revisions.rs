//! `revisions`: the log, newest first.

use fleetway_api::client::Client;

use crate::{
    args::Revisions,
    output::Output,
    table::{self, Cell},
};

/// How many `get revisions` shows.
pub(super) const DEFAULT_COUNT: usize = 20;

pub(crate) async fn run(
    client: &Client,
    args: &Revisions,
    output: &mut Output,
) -> anyhow::Result<()> {
    list(client, usize::try_from(args.count)?, output).await
}

pub(super) async fn list(client: &Client, count: usize, output: &mut Output) -> anyhow::Result<()> {
    let page = client.revisions(count).await?;
    if !output.is_table() {
        return output.body(&page);
    }
    let rows: Vec<Vec<Cell>> = page
        .items
        .iter()
        .map(|revision| {
            vec![
                Cell::new(revision.revision.to_string()),
                Cell::new(revision.time.as_str()),
                Cell::new(revision.author.as_str()),
                Cell::new(revision.changed.to_string()),
                Cell::new(revision.message.as_str()),
            ]
        })
        .collect();
    let headings = ["REVISION", "TIME", "AUTHOR", "CHANGED", "MESSAGE"];
    table::print(output, &headings, &rows)?;
    if page.next_page_token.is_some() {
        output.line("… there are older ones: give a larger count, such as -n 100")?;
    }
    Ok(())
}
