//! `completions`: scripts for shells.

use clap::CommandFactory as _;

use crate::{
    args::{Cli, Completions},
    output::Output,
};

pub(crate) fn run(args: &Completions, output: &mut Output) -> anyhow::Result<()> {
    // The generator panics on a pipe that breaks, a buffer does not.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fleetway", &mut script);
    output.write(&String::from_utf8(script)?)
}
