//! The commands, one file each.

mod apply;
mod completions;
mod delete;
mod edit;
mod get;
mod policy;
mod revisions;
mod show;
mod status;
mod validate;
mod version;

use anyhow::Context as _;
use fleetway_api::{Id, Kind, Name};

use crate::{
    args::{Cli, Command},
    output::Output,
};

/// Does what the command line says.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let mut output = Output::new(&cli.global);
    let out = &mut output;
    let client = || cli.global.client();
    let result = match &cli.command {
        Command::Apply(args) => apply::run(&client()?, args, out).await,
        Command::Get(args) => get::run(&client()?, args, out).await,
        Command::Delete(args) => delete::run(&client()?, args, out).await,
        Command::Edit(args) => edit::run(&client()?, args, out).await,
        Command::Status(args) => status::run(&client()?, args, out).await,
        Command::Revisions(args) => revisions::run(&client()?, args, out).await,
        Command::Show(args) => show::run(&client()?, args, out).await,
        Command::Validate(args) => validate::run(args, out),
        Command::Policy(args) => Box::pin(policy::run(client, args, out)).await,
        Command::Completions(args) => completions::run(args, out),
        Command::Version(_) => version::run(&client()?, out).await,
    };
    // What was printed before an error is seen before it.
    let flushed = output.flush();
    result.and(flushed)
}

/// Reads `KIND NAME…` and `KIND/NAME…`.
fn targets(words: &[String]) -> anyhow::Result<Vec<Id>> {
    let id = |kind: Kind, name: &str| {
        Name::new(name)
            .map(|name| Id::new(kind, name))
            .with_context(|| format!("\"{name}\" is not a name"))
    };
    let kind = |text: &str| text.parse::<Kind>().map_err(anyhow::Error::msg);
    let is_kind = |text: &str| text.parse::<Kind>().is_ok();
    match words.split_first() {
        Some((first, names)) if !first.contains('/') => {
            let kind = kind(first)?;
            if names.is_empty() {
                anyhow::bail!("name what is meant: {} NAME", kind.plural());
            }
            if let Some(other) = names
                .iter()
                .find(|name| name.contains('/') || is_kind(name))
            {
                anyhow::bail!(
                    "\"{other}\" is not a name: resources of several kinds are given as KIND/NAME, such as {}/NAME",
                    kind.plural()
                );
            }
            names.iter().map(|name| id(kind, name)).collect()
        }
        _ => words
            .iter()
            .map(|word| match word.split_once('/') {
                Some((of, name)) => id(kind(of)?, name),
                None => anyhow::bail!("\"{word}\" is not KIND/NAME, as the others are"),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_kind_with_names_or_both_in_one_word() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            targets(&words).map(|ids| {
                ids.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(read(&["route", "a", "b"]).unwrap(), "routes/a routes/b");
        assert_eq!(
            read(&["Routes/a", "cluster/b"]).unwrap(),
            "routes/a clusters/b"
        );
        for bad in [
            &["route"][..],
            &["rout", "a"],
            &["route/a", "b"],
            &["route", "a", "cluster/b"],
            &["route", "a", "cluster", "b"],
            &["route", "A"],
            &["route/"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
