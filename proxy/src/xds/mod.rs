//! How configuration reaches a proxy: from management servers or from a folder, and from its own
//! disk when neither is there yet.
//!
//! The way is one: bytes or documents → a [`held`] configuration that is valid as a whole → one
//! [`Update`] to the workers → [`status`], the disk, and the ACK. Nothing but whole configurations
//! gets past this module.

mod advice;
mod backoff;
mod client;
mod expiry;
mod folder;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod held;
mod last_good;
mod push;
mod session;
mod status;
#[cfg(test)]
mod testing;
mod trust;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fleetway_api::FieldError;
use tokio::{sync::watch, task};
use tokio_util::sync::CancellationToken;

pub use self::{
    client::{AddressError, Servers},
    expiry::warn_of_useless,
    held::{Held, Revision},
    last_good::FILE_NAME as LAST_GOOD_FILE,
    session::{BARRIER_FEATURE, Node},
    status::{Connection, Problem, Report, Served, Status},
    trust::{Trust, Unusable},
};
use self::{held::Candidate, last_good::Saved, session::join};
use crate::snapshot::{Apply, Origin, Update};

/// Where a proxy's configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Management servers, and the last good configuration on disk until one answers.
    Servers {
        /// The servers.
        servers: Servers,
        /// What they are told about this proxy.
        node: Node,
        /// The folder of the last good configuration; made if it is not there.
        state: PathBuf,
    },
    /// A folder of resource files, followed as they change.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The fleet of this proxy: it takes the resources that go to it.
        fleet: Arc<str>,
    },
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be made.
    #[error("the state folder {} cannot be made: {error}", .folder.display())]
    State {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The folder of resources cannot be watched.
    #[error("the folder {} cannot be watched: {error}", .folder.display())]
    Watch {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        error: notify::Error,
    },
    /// What the folder holds cannot be put in force: every fault, a line each.
    #[error("the resources in {} cannot be used:\n{}", .folder.display(), lines(.faults))]
    Resources {
        /// The folder.
        folder: PathBuf,
        /// Every fault, with file, resource and field.
        faults: Vec<FieldError>,
    },
}

/// Keeps the newest configuration of `source` in force until `shutdown`.
///
/// With servers, the last good configuration on disk comes first, at once; the first stream then
/// goes on from there. Where `status` has a configuration in force already, as after a hand-over
/// that failed, that one is gone on from, and nothing about the source is an error. [`Status::is_ready`] tells when something is in force. What is in force when
/// `shutdown` comes has been written to disk on return.
///
/// # Errors
/// At the start, when the source cannot be used at all. Later troubles are logged and shown in
/// `status`, and what is in force stays.
pub async fn run<A: Apply + Sync>(
    source: Source,
    apply: A,
    status: Status,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let (newest, saved) = watch::channel(None);
    let applier = Applier {
        apply: &apply,
        status: &status,
        newest,
    };
    match source {
        Source::Folder { folder, fleet } => {
            folder::follow(&folder, &fleet, &applier, &shutdown).await
        }
        Source::Servers {
            servers,
            node,
            state,
        } => {
            let in_force = applier.in_force();
            match std::fs::create_dir_all(&state) {
                // Of one in force the writing tells, and is tried again.
                Err(error) if in_force.is_none() => {
                    return Err(StartError::State {
                        folder: state,
                        error,
                    });
                }
                _ => {}
            }
            let served = CancellationToken::new();
            let keep = last_good::keep(state.clone(), node.fleet.clone(), saved, served.clone());
            let serve = async {
                let held = match in_force {
                    Some((held, origin)) => {
                        // Another process may have put the file aside.
                        applier.keep(&held, &origin);
                        held
                    }
                    None => from_disk(&state, &node.fleet, &applier).await,
                };
                client::follow(&servers, &node, held, &applier, &shutdown).await;
                served.cancel();
            };
            tokio::join!(keep, serve);
            Ok(())
        }
    }
}

/// Puts the last good configuration on disk in force, if there is one; what then is held.
async fn from_disk<A: Apply + Sync>(
    state: &Path,
    fleet: &Arc<str>,
    applier: &Applier<'_, A>,
) -> Held {
    let (folder, of) = (state.to_owned(), fleet.clone());
    let loaded = task::spawn_blocking(move || last_good::load(&folder, &of)).await;
    let Saved { held, server } = match loaded {
        Ok(Ok(Some(saved))) => saved,
        Ok(Ok(None)) => {
            tracing::info!(folder = %state.display(), "no last good configuration on disk, starting empty");
            return Held::default();
        }
        Ok(Err(error)) => {
            return without_disk(state, &error.to_string(), applier);
        }
        Err(error) => return without_disk(state, &error.to_string(), applier),
    };
    let changed = held
        .resources()
        .iter()
        .map(|entry| entry.resource.id())
        .collect();
    let revision = held.revision().number;
    let resources = held.resources().len();
    match applier.put(Candidate { held, changed }, Origin::Disk).await {
        Ok(held) => {
            tracing::info!(revision, resources, %server, "serving the last good configuration from disk");
            held
        }
        Err(faults) => {
            let message = join(&faults);
            tracing::error!(revision, faults = %message, "the last good configuration on disk cannot be put in force, starting empty");
            applier.status.refused(message);
            Held::default()
        }
    }
}

fn without_disk<A>(state: &Path, reason: &str, applier: &Applier<'_, A>) -> Held {
    let file = state.join(last_good::FILE_NAME);
    let message = format!(
        "the last good configuration {} is refused: {reason}",
        file.display()
    );
    tracing::error!("{message}; starting empty");
    applier.status.refused(message);
    Held::default()
}

/// What every source hands its configurations to.
struct Applier<'a, A> {
    apply: &'a A,
    status: &'a Status,
    newest: watch::Sender<Option<Saved>>,
}

impl<A> Applier<'_, A> {
    /// What is in force already, and where it came from.
    fn in_force(&self) -> Option<(Held, Origin)> {
        let served = self.status.report().served?;
        Some((self.status.held().as_ref().clone(), served.origin))
    }
}

impl<A: Apply + Sync> Applier<'_, A> {
    /// Puts a configuration in force, then tells of it and has it kept on disk.
    async fn put(&self, candidate: Candidate, origin: Origin) -> Result<Held, Vec<FieldError>> {
        let Candidate { held, changed } = candidate;
        let revision = held.revision();
        self.apply
            .apply(Update {
                resources: held.resources().clone(),
                changed,
                revision: revision.number,
                time_ms: revision.time_ms,
                origin: origin.clone(),
            })
            .await?;
        self.keep(&held, &origin);
        self.status.applied(&held, origin);
        Ok(held)
    }

    /// Has what came from a server kept on disk.
    fn keep(&self, held: &Held, origin: &Origin) {
        if let Origin::Server(server) = origin {
            self.newest.send_replace(Some(Saved {
                held: held.clone(),
                server: server.clone(),
            }));
        }
    }
}

fn lines(faults: &[FieldError]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    lines.join("\n")
}
