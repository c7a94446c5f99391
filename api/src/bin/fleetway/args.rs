//! What can be said on the command line. The comments are the help users read.

mod policy;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use fleetway_api::{client::Client, proto, rest::Share};

pub(crate) use self::policy::{
    Componentize, Inspect, New, Place, Policy, PolicyCommand, Push, StageName, Test,
};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  wrong usage, or another error
  2  refused: a resource or a file is not valid
  3  refused: a conflict, such as a stale version or a resource that is still referred to
  4  there is no such resource, revision or node
  5  the server cannot be reached, or cannot take the request now
  6  the revision was refused, or not live in time (--wait)
  7  the policy failed (policy test)";

/// Configures a fleet of Fleetway proxies through its management server.
#[derive(Debug, Parser)]
#[command(name = "fleetway", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line. A variable that is empty is as one that is not there.
    ///
    /// # Errors
    /// What is wrong with it; that help or the version is asked for counts as an error too.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = Self::command().mut_args(|argument| {
            let value = argument.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                argument.env(clap::builder::Resettable::Reset)
            } else {
                argument
            }
        });
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let read = Self::from_arg_matches_mut(&mut matches);
        read.map_err(|error| error.format(&mut command))
    }
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The REST address of the management server.
    #[arg(
        long,
        global = true,
        env = "FLEETWAY_SERVER",
        default_value = "http://127.0.0.1:7080",
        value_name = "URL"
    )]
    pub(crate) server: String,
    /// The authorities, in PEM, that a server at https://… is believed by [default: the system's].
    #[arg(long, global = true, env = "FLEETWAY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How to print: for people, or the server's answer as JSON or YAML.
    #[arg(
        long,
        short,
        global = true,
        default_value = "table",
        value_name = "FORM"
    )]
    pub(crate) output: Form,
    /// Whether to use colours; `auto` does on a terminal unless NO_COLOR is set.
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: When,
    /// In whose name changes are made.
    #[arg(long, global = true, env = "FLEETWAY_AUTHOR", value_name = "NAME")]
    #[arg(help = "In whose name changes are made [default: $USER]")]
    pub(crate) author: Option<String>,
    /// How long the server may take to answer.
    #[arg(long, global = true, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

impl Global {
    /// A client of the server.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let user = || std::env::var("USER").ok();
        let author = self.author.clone().or_else(user).unwrap_or_default();
        let authorities = self.ca.as_deref().map(|file| {
            let read = std::fs::read(file);
            read.with_context(|| format!("--ca: cannot read {}", file.display()))
        });
        let authorities = authorities.transpose()?;
        Ok(Client::new_believing(&self.server, authorities.as_deref())?
            .with_author(&author)?
            .with_timeout(self.timeout))
    }

    /// Whether to use colours on this stream.
    pub(crate) fn colour_on(&self, stream: &impl IsTerminal) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                stream.is_terminal() && !set("NO_COLOR") && !dumb
            }
        }
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Json,
    Yaml,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Apply(Apply),
    Get(Get),
    Delete(Delete),
    Edit(Edit),
    Status(Status),
    Revisions(Revisions),
    Show(Show),
    Validate(Validate),
    Policy(Policy),
    Completions(Completions),
    Version(Version),
}

/// Create and change resources as files say, all in one transaction.
///
/// Prints what became of each resource, with a diff for what changed, and the revision that holds
/// the changes. Either all of it is made or nothing. A document that carries `meta.version`, as
/// `get` prints it, is only taken if the resource is still at that version.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Write over whatever is there: a document's `meta.version` is no condition.
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// Where resources are read from.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A file, a folder with all below it (*.yaml, *.yml, *.json), or `-` for standard input; may
    /// be given more than once.
    #[arg(long = "file", short = 'f', required = true, value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
}

/// How a change is made.
#[derive(Debug, Args)]
pub(crate) struct Write {
    /// Why, for the revision log.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    /// Let the server check it and say what would change, but change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Waiting until a change is live.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// Wait until the connected proxies serve the change, at most this long [default: 30s].
    #[arg(
        long = "wait",
        value_parser = duration,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30s",
        value_name = "TIME"
    )]
    pub(crate) time: Option<Duration>,
    /// Of how many of the connected proxies: `all`, or a share such as `95%`.
    #[arg(
        long = "wait-nodes",
        requires = "time",
        default_value = "all",
        value_parser = share,
        value_name = "SHARE"
    )]
    pub(crate) nodes: String,
}

/// Print resources, nodes or revisions.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// `listeners`, `routes`, `clusters`, `endpoints`, `secrets` (singular or plural, in any case), `all` of
    /// these, `nodes` or `revisions`; or KIND/NAME.
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// Which ones; all if left out.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Only what has these labels: key=value, key!=value, key, !key; several with commas between.
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub(crate) label: Option<String>,
    /// Only what goes to this fleet, or the nodes of it.
    #[arg(long, value_name = "FLEET")]
    pub(crate) fleet: Option<String>,
    /// Leave `meta` out of the documents, as backups and copies want it (with -o yaml or json).
    #[arg(long)]
    pub(crate) plain: bool,
}

/// Delete resources, all in one transaction.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// KIND NAME…, or KIND/NAME…
    #[arg(
        value_name = "KIND NAME",
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    pub(crate) targets: Vec<String>,
    /// A file, a folder or `-` with the resources to delete; may be given more than once.
    #[arg(long = "file", short = 'f', value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// Change a resource in an editor.
///
/// Opens it in $VISUAL or $EDITOR, and opens it again with the errors on top when it is refused.
/// The change is only made if the resource is still at the version that was opened.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// KIND NAME, or KIND/NAME.
    #[arg(value_name = "KIND NAME", required = true, num_args = 1..=2)]
    pub(crate) target: Vec<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

/// Show which proxy has which revision live.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Show it again and again, this far apart [default: 2s], until Ctrl-C.
    #[arg(
        long,
        short,
        value_parser = duration,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_name = "TIME"
    )]
    pub(crate) watch: Option<Duration>,
    /// Only the nodes of this fleet.
    #[arg(long, value_name = "FLEET")]
    pub(crate) fleet: Option<String>,
}

/// List the newest revisions.
#[derive(Debug, Args)]
pub(crate) struct Revisions {
    /// How many.
    #[arg(
        short = 'n',
        long = "count",
        default_value_t = 20,
        value_name = "COUNT"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
}

/// Show what a revision changed, with diffs.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its number; the newest if left out.
    #[arg(value_name = "REVISION")]
    pub(crate) number: Option<u64>,
}

/// Check files without a server, as the server and the proxies do.
///
/// The resources must be valid by themselves and together: what they refer to must be in the
/// files too, unless --each is given. To check files against what the server holds, use
/// `apply --dry-run`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Check each resource by itself, not whether they fit together.
    #[arg(long)]
    pub(crate) each: bool,
}

/// Print a completion script for a shell.
///
/// For bash: `fleetway completions bash > /etc/bash_completion.d/fleetway`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Print the version of this program and, if it answers, of the server.
#[derive(Debug, Args)]
pub(crate) struct Version {}

/// Reads `250ms`, `2s`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let read: proto::Duration = text
        .parse()
        .map_err(|error: proto::ParseDurationError| error.to_string())?;
    let time = Duration::try_from(read).map_err(|error| error.to_string())?;
    if time.is_zero() {
        return Err("must be above 0s".to_owned());
    }
    Ok(time)
}

/// Checks a share before anything is changed; it is sent as it is written.
fn share(text: &str) -> Result<String, String> {
    text.parse::<Share>().map(|_| text.to_owned())
}

/// What to write instead, where the parser's own words do not say: a file without `-f`, a time
/// that stands apart from its option.
pub(crate) fn tip(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    if error.kind() != ErrorKind::UnknownArgument || word.starts_with('-') {
        return None;
    }
    let words: Vec<String> = std::env::args().collect();
    let before = words.iter().position(|said| said == word);
    let before = before.and_then(|at| words.get(at.checked_sub(1)?));
    match before.map(String::as_str) {
        Some(option @ ("--wait" | "--watch" | "-w")) if duration(word).is_ok() => {
            let option = if option == "-w" { "--watch" } else { option };
            Some(format!("write {option}={word}"))
        }
        _ if words
            .iter()
            .any(|said| matches!(said.as_str(), "apply" | "validate")) =>
        {
            Some(format!("files are given with -f: -f {word}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Cli::command().debug_assert();
    }
}
