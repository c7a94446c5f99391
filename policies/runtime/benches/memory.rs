//! The resident memory that policies take: what they run on, a component, calls at once, and what is
//! left when those have ended. Prints a line for each.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot begin cannot go on"
)]
#![allow(clippy::print_stdout, reason = "it prints what it has measured")]
mod common;

use std::fs;

use common::{HEADERS, bytes, subject, unit_of};
use fleetway_policy_runtime::{Options, Program, Runtime};

/// How many calls are there at once: as many as one policy may have.
const CALLS: usize = 500;

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn kib(bytes: isize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn main() {
    let threads = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut last = resident();
    let mut row = |what: &str, divided_by: usize| {
        let now = resident();
        let grown = (now.cast_signed() - last.cast_signed()) / divided_by.cast_signed();
        println!("{what:54} {:>12}", kib(grown));
        last = now;
    };
    let runtime = Runtime::new(Options::default()).unwrap();
    row("what policies run on", 1);
    for name in ["header-rules", "probe"] {
        let program = Program::compile(&runtime, &bytes(name)).unwrap();
        row(&format!("{name}: compiling it, with what that leaves"), 1);
        let config = if name == "probe" { "{}" } else { HEADERS };
        let unit = unit_of(program, name, config);
        for round in ["the first time", "once more"] {
            let calls: Vec<_> = threads.block_on(async {
                let mut calls = Vec::with_capacity(CALLS);
                for _ in 0..CALLS {
                    let mut call = unit.start(subject()).await.ok().unwrap();
                    call.pre_route().await.unwrap();
                    calls.push(call);
                }
                calls
            });
            row(
                &format!("{name}: a call, of {CALLS} at once, {round}"),
                CALLS,
            );
            drop(calls);
            row(
                &format!("{name}: a call once all have ended, {round}"),
                CALLS,
            );
        }
    }
}
