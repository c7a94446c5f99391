//! What can be done to a proxy.

use std::hint::black_box;
use std::io::Write;

use fleetway_policy::prelude::*;
use fleetway_policy::{LocalResponse, access_log, key_value, metadata, metrics, random};
use serde::Deserialize;

/// What to do.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// Calculates for ever.
    InfiniteLoop,
    /// Takes memory, a mebibyte at a time.
    MemoryBomb,
    /// Calls itself for ever.
    StackOverflow,
    /// Adds a million header fields.
    ManyHeaders,
    /// Sets a header field of 16 MiB.
    GiantHeader,
    /// Takes handles of the header fields and keeps them.
    HandleFlood,
    /// Logs a line of 16 MiB.
    GiantLog,
    /// Stops at once.
    Trap,
    /// Panics with a message.
    Panic,
    /// Returns an error.
    Fail,
    /// Logs a million lines.
    LogFlood,
    /// Makes a million series.
    MetricFlood,
    /// Stores a million values.
    KeyValueFlood,
    /// Makes a million notes.
    MetadataFlood,
    /// Adds a million fields to the access log.
    AnnotateFlood,
    /// Asks for 4 GiB of randomness.
    RandomFlood,
    /// Answers with a body of 16 MiB.
    GiantAnswer,
    /// Answers with a hundred thousand header fields.
    ManyAnswerHeaders,
}

/// What to do with a body.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyAttack {
    /// Calculates for ever.
    InfiniteLoop,
    /// Keeps all of it, and takes a mebibyte more for each chunk.
    MemoryBomb,
    /// Calls itself for ever.
    StackOverflow,
    /// Stops at once.
    Trap,
    /// Sends half of the first chunk on and stops.
    TrapHalfway,
    /// Reads on a thousand times behind the end; then says how often there was something.
    ReadAfterEnd,
    /// Returns without having read anything.
    NeverRead,
    /// Calculates for ever once the first chunk is read.
    HoldReading,
    /// Writes for ever.
    WriteWithoutEnd,
    /// Writes a byte at a time, for ever.
    WriteBytes,
    /// Writes 16 MiB at once.
    WriteGiant,
}

const MANY: u32 = 1_000_000;
const GIANT: usize = 16 << 20;

impl Attack {
    /// Does it.
    pub fn run(self, headers: &dyn Fn() -> Option<Headers>) -> Result<(), Error> {
        match self {
            Self::InfiniteLoop => spin(),
            Self::MemoryBomb => drop(bomb()),
            Self::StackOverflow => drop(black_box(recurse(1))),
            Self::ManyHeaders => {
                let headers = headers();
                for i in 0..MANY {
                    headers
                        .as_ref()
                        .map(|h| h.append(&format!("x-many-{i}"), "x"));
                }
            }
            Self::GiantHeader => {
                headers().map(|h| h.set("x-giant", vec![b'x'; GIANT]));
            }
            Self::HandleFlood => {
                let mut held = Vec::new();
                loop {
                    held.push(headers());
                }
            }
            Self::GiantLog => log::error!("{}", "x".repeat(GIANT)),
            Self::Trap => std::process::abort(),
            Self::Fail => return Err(Error::new("a failure, as configured")),
            Self::Panic => assert!(black_box(false), "a panic, as configured"),
            Self::LogFlood => (0..MANY).for_each(|i| log::error!("line {i}")),
            Self::MetricFlood => {
                for i in 0..MANY {
                    metrics::increment(&format!("flood_{i}"), &[("i", &i.to_string())], 1);
                }
            }
            Self::KeyValueFlood => {
                for i in 0..MANY {
                    let _ = key_value::set(&format!("flood-{i}"), [b'x'; 1024], None);
                }
            }
            Self::MetadataFlood => {
                for i in 0..MANY {
                    metadata::set(&format!("flood-{i}"), [b'x'; 1024]);
                }
            }
            Self::AnnotateFlood => {
                for i in 0..MANY {
                    access_log::annotate(&format!("flood-{i}"), "x");
                }
            }
            Self::RandomFlood => drop(black_box(random::bytes(u32::MAX))),
            Self::GiantAnswer | Self::ManyAnswerHeaders => {}
        }
        Ok(())
    }
}

/// Does it to a body; with nothing to do, sends it on.
pub fn body(
    attack: Option<BodyAttack>,
    mut body: BodyReader,
    mut out: BodyWriter,
) -> Result<(), Error> {
    match attack {
        None => {
            for chunk in body.chunks() {
                out.write_all(&chunk)?;
            }
        }
        Some(BodyAttack::InfiniteLoop) => spin(),
        Some(BodyAttack::MemoryBomb) => drop(bomb()),
        Some(BodyAttack::StackOverflow) => drop(black_box(recurse(1))),
        Some(BodyAttack::Trap) => std::process::abort(),
        Some(BodyAttack::TrapHalfway) => {
            if let Some(chunk) = body.chunk() {
                out.write_all(chunk.get(..chunk.len() / 2).unwrap_or_default())?;
            }
            std::process::abort()
        }
        Some(BodyAttack::ReadAfterEnd) => {
            while let Some(chunk) = body.chunk() {
                out.write_all(&chunk)?;
            }
            let more = (0..1000).filter(|_| body.chunk().is_some()).count();
            write!(out, "[{more} behind the end]")?;
        }
        Some(BodyAttack::NeverRead) => {}
        Some(BodyAttack::HoldReading) => {
            body.chunk();
            spin()
        }
        Some(BodyAttack::WriteWithoutEnd) => {
            let block = vec![b'x'; 64 << 10];
            loop {
                out.write_all(&block)?;
            }
        }
        Some(BodyAttack::WriteBytes) => loop {
            out.write_all(b"x")?;
        },
        Some(BodyAttack::WriteGiant) => out.write_at_once(&vec![b'x'; GIANT]),
    }
    Ok(())
}

/// An answer with a body of 16 MiB.
pub fn giant_answer() -> LocalResponse {
    respond(200, vec![b'x'; GIANT])
}

/// An answer with a hundred thousand header fields.
pub fn many_headers_answer() -> LocalResponse {
    (0..MANY / 10).fold(respond(200, ""), |answer, i| {
        answer.header(format!("x-many-{i}"), "x")
    })
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_mul(31).wrapping_add(1));
    }
}

fn bomb() -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1; 1 << 20]));
    }
}

/// Depth on the real stack: what is done behind the call keeps it from being a loop.
#[expect(unconditional_recursion, reason = "what it is for")]
fn recurse(depth: u64) -> u64 {
    let here = black_box([depth; 64]);
    let below = recurse(black_box(depth + 1));
    below.wrapping_add(here.iter().sum::<u64>())
}
