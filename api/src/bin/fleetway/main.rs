//! `fleetway`: the command line of the management server.
//!
//! Each command is one file of `commands/`; what they share is around it: reading files
//! ([`input`]), waiting for a revision ([`live`]), printing ([`output`], [`diff`]) and what an
//! error means to the caller ([`exit`]).

mod args;
mod commands;
mod diff;
mod exit;
mod input;
mod live;
mod output;
mod table;

use std::{io::Write as _, process::ExitCode};

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version are no errors. Nobody is left to tell when printing fails.
            let _ = message.print();
            if let Some(tip) = args::tip(&message) {
                output::note(&format!("\ntip: {tip}"));
            }
            return ExitCode::from(if message.use_stderr() { exit::OTHER } else { 0 });
        }
    };
    let colour = cli.global.colour_on(&std::io::stderr());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(Box::pin(commands::run(cli))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = exit::text(&error, colour);
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(exit::code(&error))
        }
    }
}
