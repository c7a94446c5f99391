//! Does what the actions of a body say.

use std::io::Write;

use fleetway_policy::prelude::*;
use fleetway_policy::{access_log, http_client, metadata};
use serde_json::json;

use crate::action::BodyAction;
use crate::{act, report};

/// Reads a body and counts.
struct Reader<'a> {
    body: BodyReader<'a>,
    chunks: u64,
    bytes: usize,
}

impl Reader<'_> {
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let chunk = self.body.chunk()?;
        self.chunks += 1;
        self.bytes += chunk.len();
        Some(chunk)
    }
}

/// Writes what the actions make of a body.
pub fn transform(
    actions: &[BodyAction],
    calls: u32,
    body: BodyReader,
    mut out: BodyWriter,
) -> Result<(), Error> {
    let mut reader = Reader {
        body,
        chunks: 0,
        bytes: 0,
    };
    for action in actions {
        match action {
            BodyAction::Pass {} => {
                while let Some(chunk) = reader.chunk() {
                    out.write_all(&chunk)?;
                }
            }
            BodyAction::Upper {} => {
                while let Some(chunk) = reader.chunk() {
                    out.write_all(&chunk.to_ascii_uppercase())?;
                }
            }
            BodyAction::PassChunks { count } => {
                for _ in 0..*count {
                    let Some(chunk) = reader.chunk() else { break };
                    out.write_all(&chunk)?;
                }
            }
            BodyAction::Write { text } => out.write_all(text.as_bytes())?,
            BodyAction::WriteMany { text, times } => {
                for _ in 0..*times {
                    out.write_all(text.as_bytes())?;
                }
            }
            BodyAction::Drop {} => while reader.chunk().is_some() {},
            BodyAction::Stop {} => return Ok(()),
            BodyAction::Report {} => {
                let trailers = reader.body.trailers();
                let report = json!({
                    "chunks": reader.chunks,
                    "bytes": reader.bytes,
                    "trailers": trailers.map(|trailers| report::headers(&trailers)),
                    "calls": calls,
                });
                out.write_all(report.to_string().as_bytes())?;
            }
            BodyAction::SetTrailer { name, value } => {
                if let Some(trailers) = reader.body.trailers() {
                    trailers.set(name, value)?;
                }
            }
            BodyAction::Log { message } => log::info!("{message}"),
            BodyAction::MetadataSet { key, value } => {
                metadata::set(key, value);
            }
            BodyAction::WriteMetadata { policy, key } => {
                out.write_all(&metadata::get(policy, key).unwrap_or_default())?;
            }
            BodyAction::Annotate { key, value } => {
                access_log::annotate(key, value);
            }
            BodyAction::WriteHttp { cluster, path } => {
                let written = match http_client::get(cluster, path).send() {
                    Ok(response) => response.body,
                    Err(error) => act::not_sent(error).into_bytes(),
                };
                out.write_all(&written)?;
            }
            BodyAction::Trap {} => std::process::abort(),
        }
    }
    while let Some(chunk) = reader.chunk() {
        out.write_all(&chunk)?;
    }
    Ok(())
}
