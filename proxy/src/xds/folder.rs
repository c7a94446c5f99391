//! Configuration from a folder of resource files: read whole, watched, read again.
//!
//! The files of the folder form one set. Whatever event says that something changed, the whole
//! folder is read anew and compared with what is in force: an event is a hint, never the news
//! itself, so editors that rename and volumes that swap a symbolic link need no special case.

mod watch;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use fleetway_api::{
    Change, Entry, FieldError, Id, Invalid, Resource, ResourceSet, component_digest,
    document::{self, Format},
    encode_message,
    proto::v1,
};
use serde_json::Value;
use tokio::{task, time::sleep};
use tokio_util::sync::CancellationToken;

use self::watch::Watch;
use super::{
    Applier, StartError,
    held::{Candidate, Edit, Held},
    lines,
};
use crate::snapshot::{Apply, Origin, Received, Version};

/// How long to wait until a folder that cannot be watched is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The largest file, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Puts the folder in force, and again after each change, until `shutdown`. Where a configuration
/// is in force already, the folder is a change of that one like any other.
///
/// # Errors
/// At the start, when the folder cannot be watched or put in force.
pub(super) async fn follow<A: Apply + Sync>(
    folder: &Path,
    fleet: &Arc<str>,
    applier: &Applier<'_, A>,
    shutdown: &CancellationToken,
) -> Result<(), StartError> {
    let origin = Origin::Folder(folder.to_string_lossy().into());
    let (mut watch, mut held) = match applier.in_force() {
        None => begin(folder, fleet, applier, &origin).await?,
        Some((held, _)) => match shutdown.run_until_cancelled(resume(folder, applier)).await {
            Some(watch) => (watch, held),
            None => return Ok(()),
        },
    };
    let mut last_faults = Vec::new();
    while shutdown
        .run_until_cancelled(watch.changed())
        .await
        .is_some()
    {
        let outcome = match read_and_edit(folder, fleet, &held).await {
            Ok(None) => Ok(None),
            Ok(Some(candidate)) => applier.put(candidate, origin.clone()).await.map(Some),
            Err(faults) => Err(faults),
        };
        match outcome {
            Ok(None) => {
                last_faults.clear();
                if applier.status.report().last_error.is_some() {
                    tracing::info!(folder = %folder.display(), "the folder is again what is in force");
                    applier.status.mended();
                }
            }
            Ok(Some(next)) => {
                held = next;
                last_faults.clear();
                tracing::info!(folder = %folder.display(), revision = held.revision().number, resources = held.resources().len(), "reloaded");
            }
            Err(faults) => {
                if faults != last_faults {
                    tracing::error!(
                        folder = %folder.display(), "the resources cannot be used, what was in force stays:\n{}", lines(&faults)
                    );
                    applier.status.refused(lines(&faults));
                }
                last_faults = faults;
            }
        }
    }
    Ok(())
}

/// Puts the folder in force for the first time.
async fn begin<A: Apply + Sync>(
    folder: &Path,
    fleet: &Arc<str>,
    applier: &Applier<'_, A>,
    origin: &Origin,
) -> Result<(Watch, Held), StartError> {
    let refused = |faults| StartError::Resources {
        folder: folder.to_owned(),
        faults,
    };
    let watch = Watch::start(folder)?;
    let held = Held::default();
    let first = read_and_edit(folder, fleet, &held).await;
    let first = first.map_err(refused)?.unwrap_or_else(|| Candidate {
        held: held.clone(),
        changed: Vec::new(),
    });
    let held = applier.put(first, origin.clone()).await.map_err(refused)?;
    tracing::info!(folder = %folder.display(), resources = held.resources().len(), "serving the resources of the folder");
    Ok((watch, held))
}

/// Watches the folder again, as soon as that is possible, and has what it is by now looked at.
async fn resume<A>(folder: &Path, applier: &Applier<'_, A>) -> Watch {
    let mut told = false;
    loop {
        match Watch::start(folder) {
            Ok(watch) => {
                watch.look();
                return watch;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "the folder is not followed for now, what was in force stays");
                    applier.status.refused(error.to_string());
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// What the folder makes of the configuration in force; `None` where it is just that. Off this
/// thread: reading takes as long as the disk does.
async fn read_and_edit(
    folder: &Path,
    fleet: &Arc<str>,
    held: &Held,
) -> Result<Option<Candidate>, Vec<FieldError>> {
    let (folder, fleet, held) = (folder.to_owned(), fleet.clone(), held.clone());
    task::spawn_blocking(move || candidate(&read(&folder)?, &fleet, &held))
        .await
        .unwrap_or_else(|error| {
            let message = format!("the proxy failed while it read the folder: {error}");
            Err(vec![FieldError::new("", "", message)])
        })
}

/// The documents of a folder, each valid in itself.
#[derive(Debug)]
struct Documents {
    documents: BTreeMap<Id, Read>,
    /// When the youngest file was changed, in milliseconds since 1970.
    time_ms: i64,
}

#[derive(Debug)]
struct Read {
    file: String,
    resource: Resource,
    wire: Bytes,
}

/// What a file holds.
#[derive(Debug, Clone, Copy)]
enum Content {
    Documents(Format),
    /// The bytes of a component, which is named by them.
    Component,
}

/// Reads every resource file.
fn read(folder: &Path) -> Result<Documents, Vec<FieldError>> {
    let files = files(folder).map_err(|error| {
        let message = format!("cannot be read: {error}");
        vec![FieldError::new(folder.display(), "", message)]
    })?;
    let mut found = Documents {
        documents: BTreeMap::new(),
        time_ms: 0,
    };
    let mut faults = Vec::new();
    let mut invalid = Vec::new();
    for (path, content) in files {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = match read_file(&path) {
            Ok((bytes, time_ms)) => {
                found.time_ms = found.time_ms.max(time_ms);
                bytes
            }
            // It went away between the list and now; the event of that is on its way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                faults.push(FieldError::new(
                    &file,
                    "",
                    format!("cannot be read: {error}"),
                ));
                invalid.push(Value::Null);
                continue;
            }
        };
        let format = match content {
            Content::Documents(format) => format,
            Content::Component => {
                match component(bytes.into()) {
                    Ok((id, message, resource)) => {
                        found.add(&file, id, &message, resource, &mut faults);
                    }
                    Err(errors) => {
                        faults.extend(errors.into_iter().map(|error| in_file(&file, error)));
                        invalid.push(Value::Null);
                    }
                }
                continue;
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            faults.push(FieldError::new(&file, "", "is not UTF-8"));
            invalid.push(Value::Null);
            continue;
        };
        let documents = document::read_all(&text, format, &file).unwrap_or_else(|faulty| {
            let errors = faulty.faults.into_iter();
            faults.extend(errors.map(|error| in_file(&file, error)));
            invalid.extend(faulty.invalid);
            faulty.valid
        });
        for (document, resource) in documents {
            found.add(&file, document.id, &document.message, resource, &mut faults);
        }
    }
    if faults.is_empty() {
        return Ok(found);
    }
    faults.extend(found.faults_beside(&Invalid::of(&invalid)));
    Err(faults)
}

/// The component that a file of its bytes is.
fn component(wasm: Bytes) -> Result<(Id, v1::Resource, Resource), Vec<FieldError>> {
    let message = v1::Resource {
        kind: Some(v1::resource::Kind::Component(v1::Component {
            name: component_digest(&wasm),
            wasm,
            ..v1::Component::default()
        })),
    };
    let resource = Resource::read(message.clone())?;
    Ok((resource.id(), message, resource))
}

impl Documents {
    fn add(
        &mut self,
        file: &str,
        id: Id,
        message: &v1::Resource,
        resource: Resource,
        faults: &mut Vec<FieldError>,
    ) {
        if let Some(other) = self.documents.get(&id) {
            let message = if other.file == file {
                "is in this file more than once: keep one".to_owned()
            } else {
                format!("is also in {}: keep one of the two", other.file)
            };
            faults.push(in_file(file, FieldError::new(&id, "", message)));
            return;
        }
        // A document that was read has a kind.
        let wire = encode_message(message).map_or_else(Vec::new, |(_, wire)| wire);
        let read = Read {
            file: file.to_owned(),
            resource,
            wire: wire.into(),
        };
        self.documents.insert(id, read);
    }
}

/// What the documents make of `held`: all of them judged together, then those of the fleet.
fn candidate(
    found: &Documents,
    fleet: &str,
    held: &Held,
) -> Result<Option<Candidate>, Vec<FieldError>> {
    let revision = held.revision().next_counted(found.time_ms);
    let version = Version::from(revision.number);
    let put = |(id, read): (&Id, &Read)| {
        let edit = Edit::Put {
            resource: read.resource.clone(),
            received: Received {
                // The version of a file's resource is the reload that last changed it.
                version: version.clone(),
                wire: read.wire.clone(),
            },
        };
        (id.clone(), edit)
    };
    let all = found.documents.iter().map(put);
    Held::default()
        .edit(all.collect(), revision.clone())
        .map_err(|faults| found.locate(faults))?;
    let mine = |read: &Read| read.resource.common().fleets.contains(fleet);
    let gone = held
        .resources()
        .iter()
        .map(|entry| entry.resource.id())
        .filter(|id| !found.documents.get(id).is_some_and(mine))
        .map(|id| (id, Edit::Remove));
    let is_held = |id: &Id, read: &Read| {
        let entry = held.resources().get(id);
        entry.is_some_and(|entry| entry.data.wire == read.wire)
    };
    let puts = found
        .documents
        .iter()
        .filter(|(id, read)| mine(read) && !is_held(id, read))
        .map(put);
    let candidate = held.edit(gone.chain(puts).collect(), revision)?;
    Ok((!candidate.changed.is_empty()).then_some(candidate))
}

impl Documents {
    /// The faults of the set they would form beside what is invalid by itself.
    fn faults_beside(&self, invalid: &Invalid) -> Vec<FieldError> {
        let put = |read: &Read| {
            Change::Put(Arc::new(Entry {
                resource: read.resource.clone(),
                data: (),
            }))
        };
        let changes = self.documents.values().map(put).collect();
        self.locate(ResourceSet::default().faults(changes, invalid))
    }

    /// The faults with the files of the resources they are about.
    fn locate(&self, faults: Vec<FieldError>) -> Vec<FieldError> {
        let named = |fault: FieldError| match self.file_of(&fault.resource) {
            Some(file) => in_file(file, fault),
            None => fault,
        };
        faults.into_iter().map(named).collect()
    }

    fn file_of(&self, resource: &str) -> Option<&str> {
        let (plural, name) = resource.split_once('/')?;
        let kind = plural.parse().ok()?;
        let id = Id::new(kind, name.parse().ok()?);
        self.documents.get(&id).map(|read| read.file.as_str())
    }
}

/// Puts the file in front of where a fault is, unless it is there.
fn in_file(file: &str, mut fault: FieldError) -> FieldError {
    if fault.resource.is_empty() {
        fault.resource = file.to_owned();
    } else if !fault.resource.starts_with(file) {
        fault.resource = format!("{file}: {}", fault.resource);
    }
    fault
}

/// The resource files of a folder, by name. What editors and volumes keep beside them, hidden or
/// with another ending, is none; what a symbolic link leads to counts as what it is.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, Content)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        let temporary = |name: &OsStr| name.as_encoded_bytes().starts_with(b"#");
        if path
            .file_name()
            .is_none_or(|name| hidden(name) || temporary(name))
        {
            continue;
        }
        let content = match path.extension().and_then(OsStr::to_str) {
            Some("yaml" | "yml") => Content::Documents(Format::Yaml),
            Some("json") => Content::Documents(Format::Json),
            Some("wasm") => Content::Component,
            _ => continue,
        };
        if !path.is_dir() {
            files.push((path, content));
        }
    }
    files.sort_by(|(one, _), (two, _)| one.cmp(two));
    Ok(files)
}

/// The content of a file and when it was changed.
fn read_file(path: &Path) -> io::Result<(Vec<u8>, i64)> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(io::Error::other(format!(
            "it is larger than {MAX_FILE} bytes"
        )));
    }
    let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_ms = i64::try_from(changed.as_millis()).unwrap_or_default();
    Ok((fs::read(path)?, time_ms))
}

#[cfg(test)]
mod tests;
