//! `show`: what a revision changed.

use fleetway_api::client::Client;

use super::apply::{colour, word};
use crate::{
    args::Show,
    output::{Colour, Output},
};

pub(crate) async fn run(client: &Client, args: &Show, output: &mut Output) -> anyhow::Result<()> {
    let number = match args.number {
        Some(number) => number,
        None => match client.revisions(1).await?.items.first() {
            Some(newest) => newest.revision,
            None => anyhow::bail!("there is no revision yet: `fleetway apply -f FILE` makes one"),
        },
    };
    one(client, number, output).await
}

pub(super) async fn one(client: &Client, number: u64, output: &mut Output) -> anyhow::Result<()> {
    let revision = client.revision(number).await?;
    if !output.is_table() {
        return output.body(&revision);
    }
    let about = &revision.summary;
    let title = output.paint(Colour::Heading, &format!("revision {}", about.revision));
    output.line(&title)?;
    output.line(&format!("author:  {}", one_line(&about.author)))?;
    output.line(&format!("time:    {}", about.time))?;
    for (index, line) in about.message.lines().enumerate() {
        let heading = if index == 0 { "message:" } else { "" };
        output.line(&format!("{heading:8} {}", one_line(line)))?;
    }
    for change in &revision.changes {
        output.line("")?;
        let word = output.paint(colour(change.outcome), word(change.outcome));
        output.line(&format!("{word} {}", change.id))?;
        output.diff(change.before.as_ref(), change.after.as_ref())?;
    }
    Ok(())
}

/// Without what would steer the terminal.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
