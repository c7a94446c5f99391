//! The last good configuration on disk, so that a proxy started while its server is away serves.
//!
//! One file, written whole: a header of fixed size (magic, format version, CRC-32C and length of
//! what follows), then the revision, the fleet, the server, and every resource in the bytes it
//! came in. A file that is not exactly that is refused and kept aside; there is no half of it. The
//! bytes of components are not in it: each stands in a file of its own, which is written once.

mod components;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes};
use fleetway_api::{
    Component, FieldError, Id, Kind, Name, Resource, decode_message, encode_message, proto::v1,
};
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::components::Components;
use super::{
    held::{Candidate, Edit, Held, Revision},
    session::join,
};
use crate::snapshot::{Received, Version};

/// The file's name in the state folder.
pub const FILE_NAME: &str = "last-good.bin";
/// Begins the file. The line ends in it show a transfer that changed bytes.
const MAGIC: &[u8; 8] = b"FLWLG\r\n\n";
/// The newest format this program reads, and writes where there are components or policies.
const FORMAT: u32 = 3;
/// The oldest format this program reads, and writes where there are neither.
pub(super) const FIRST_FORMAT: u32 = 2;
/// Magic, format, checksum, length.
pub(super) const HEADER: usize = 8 + 4 + 4 + 8;
/// The largest file that is read.
const MAX_BYTES: u64 = 4 << 30;

/// The longest time between two writes, and the time to the next attempt after a failed one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A configuration and where it once came from.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) held: Held,
    /// The server it came from.
    pub(super) server: Arc<str>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no last good configuration, or a damaged one: {0}")]
    Damaged(&'static str),
    #[error("it is of format {0}, and this program reads {FIRST_FORMAT} to {FORMAT}")]
    OtherFormat(u32),
    #[error("it is of fleet \"{found}\", and this proxy is of fleet \"{expected}\"")]
    OtherFleet { found: String, expected: String },
    #[error("the bytes of components/{name} cannot be read: {error}")]
    Component { name: Name, error: io::Error },
    #[error("what it holds is not valid here: {}", join(.0))]
    Invalid(Vec<FieldError>),
}

/// Reads the file in a state folder. `None` if there is none.
///
/// # Errors
/// When there is one that cannot be used. It has then been renamed to end in `.bad`, unless it
/// could not be read at all.
pub(super) fn load(state: &Path, fleet: &str) -> Result<Option<Saved>, LoadError> {
    let path = state.join(FILE_NAME);
    let bytes = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) if metadata.len() > MAX_BYTES => Err(LoadError::Damaged("it is too large")),
        Ok(_) => Ok(fs::read(&path)?),
    };
    let components = Components::of(state);
    match bytes.and_then(|bytes| decode(&bytes, fleet, |name| components.read(name))) {
        Ok(saved) => Ok(Some(saved)),
        Err(error) => {
            fs::rename(&path, state.join(format!("{FILE_NAME}.bad")))?;
            Err(error)
        }
    }
}

/// Writes the file in a state folder: at every moment there is the old one or the new one, whole.
///
/// # Errors
/// When the disk does not take it; the old one stays.
pub(super) fn store(state: &Path, fleet: &str, saved: &Saved) -> io::Result<()> {
    let components = Components::of(state);
    let mut held = BTreeSet::new();
    for (name, entry) in saved.held.resources().of(Kind::Component) {
        if let Resource::Component(component) = &entry.resource {
            components.keep(name, &component.wasm)?;
        }
        held.insert(name.as_str());
    }
    let temporary = state.join(format!("{FILE_NAME}.tmp"));
    let bytes = encode(fleet, saved)?;
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, state.join(FILE_NAME))?;
    // The rename itself is durable once the folder is.
    File::open(state)?.sync_all()?;
    components.keep_only(&held);
    Ok(())
}

/// Writes what is in force until `shutdown`, and then once more if something is left.
///
/// Only the newest configuration counts, and the next write waits ten times as long as the last
/// one took: a large table that changes all the time costs a tenth of a disk, no more.
pub(super) async fn keep(
    state: PathBuf,
    fleet: Arc<str>,
    mut newest: watch::Receiver<Option<Saved>>,
    shutdown: CancellationToken,
) {
    let mut failing = false;
    let mut not_before = Instant::now();
    loop {
        let stopping = tokio::select! {
            biased;
            () = shutdown.cancelled() => true,
            changed = newest.changed() => changed.is_err(),
            () = sleep_until(not_before), if failing => false,
        };
        if stopping && !newest.has_changed().unwrap_or(false) {
            return;
        }
        if !stopping {
            tokio::select! {
                () = sleep_until(not_before) => {}
                () = shutdown.cancelled() => {}
            }
        }
        let Some(saved) = newest.borrow_and_update().clone() else {
            continue;
        };
        let began = Instant::now();
        let (folder, fleet) = (state.clone(), fleet.clone());
        let written = task::spawn_blocking(move || store(&folder, &fleet, &saved)).await;
        not_before = Instant::now() + (began.elapsed() * 10).min(LONGEST_PAUSE);
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => failing = false,
            Err(error) => {
                not_before = Instant::now() + LONGEST_PAUSE;
                if std::mem::replace(&mut failing, true) {
                    continue;
                }
                tracing::error!(
                    folder = %state.display(), %error,
                    "the last good configuration cannot be kept on disk: a restart without a server would go back to an older one"
                );
            }
        }
    }
}

/// The number a kind has in the file. Never reused.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Cluster => 1,
        Kind::Endpoints => 2,
        Kind::Listener => 3,
        Kind::Route => 4,
        Kind::Secret => 5,
        Kind::Policy => 6,
        Kind::Component => 7,
    }
}

pub(super) fn encode(fleet: &str, saved: &Saved) -> io::Result<Vec<u8>> {
    let Saved { held, server } = saved;
    let revision = held.revision();
    let mut out = Vec::with_capacity(HEADER + 128 + held.resources().len() * 256);
    out.put_bytes(0, HEADER);
    out.put_u64_le(revision.number);
    out.put_i64_le(revision.time_ms);
    let version = revision.version.as_ref().map(Version::to_string);
    put_slice(&mut out, version.unwrap_or_default().as_bytes())?;
    put_slice(&mut out, fleet.as_bytes())?;
    put_slice(&mut out, server.as_bytes())?;
    out.put_u64_le(held.resources().len() as u64);
    for entry in held.resources().iter() {
        let Received { version, wire } = &entry.data;
        out.put_u8(code(entry.resource.kind()));
        put_slice(&mut out, version.to_string().as_bytes())?;
        match entry.resource.kind() {
            Kind::Component => put_slice(&mut out, &without_bytes(wire)?)?,
            _ => put_slice(&mut out, wire)?,
        }
    }
    seal(&mut out, format_of(held));
    Ok(out)
}

/// The format a configuration is written in.
fn format_of(held: &Held) -> u32 {
    let none = |kind| held.resources().of(kind).is_empty();
    if none(Kind::Component) && none(Kind::Policy) {
        FIRST_FORMAT
    } else {
        FORMAT
    }
}

/// The wire form of a component without its bytes.
fn without_bytes(wire: &Bytes) -> io::Result<Vec<u8>> {
    let mut message = decode_message(Kind::Component, wire.clone()).map_err(io::Error::other)?;
    if let Some(v1::resource::Kind::Component(component)) = &mut message.kind {
        *component = Component::without_bytes(component);
    }
    Ok(encode_message(&message).map_or_else(Vec::new, |(_, wire)| wire))
}

/// The wire form of a component with its bytes again. What is no message stays what it is.
fn with_bytes(
    wire: &[u8],
    read: impl Fn(&Name) -> io::Result<Bytes>,
) -> Result<Vec<u8>, LoadError> {
    let Ok(v1::Resource {
        kind: Some(v1::resource::Kind::Component(mut component)),
    }) = decode_message(Kind::Component, wire)
    else {
        return Ok(wire.to_vec());
    };
    let name =
        Name::new(&component.name).map_err(|_| LoadError::Damaged("a component without a name"))?;
    component.wasm = read(&name).map_err(|error| LoadError::Component { name, error })?;
    let kind = Some(v1::resource::Kind::Component(component));
    Ok(encode_message(&v1::Resource { kind }).map_or_else(Vec::new, |(_, wire)| wire))
}

/// Writes the header of what follows it.
pub(super) fn seal(file: &mut [u8], format: u32) {
    let Some((mut header, body)) = file.split_at_mut_checked(HEADER) else {
        return;
    };
    header.put_slice(MAGIC);
    header.put_u32_le(format);
    header.put_u32_le(crc32c::crc32c(body));
    header.put_u64_le(body.len() as u64);
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    out.put_u32_le(u32::try_from(bytes.len()).map_err(io::Error::other)?);
    out.put_slice(bytes);
    Ok(())
}

/// Reads a file. `component` gives the bytes of one.
pub(super) fn decode(
    mut bytes: &[u8],
    fleet: &str,
    component: impl Fn(&Name) -> io::Result<Bytes>,
) -> Result<Saved, LoadError> {
    const SHORT: LoadError = LoadError::Damaged("it ends too early");
    if bytes.len() < HEADER {
        return Err(SHORT);
    }
    if bytes.split_off(..MAGIC.len()) != Some(MAGIC) {
        return Err(LoadError::Damaged("it begins with something else"));
    }
    let format = bytes.get_u32_le();
    if !(FIRST_FORMAT..=FORMAT).contains(&format) {
        // A flipped bit in the number itself reads as another format: refused all the same.
        return Err(LoadError::OtherFormat(format));
    }
    let checksum = bytes.get_u32_le();
    let length = bytes.get_u64_le();
    if length != bytes.len() as u64 {
        return Err(LoadError::Damaged("its length is not the one it names"));
    }
    if checksum != crc32c::crc32c(bytes) {
        return Err(LoadError::Damaged("its checksum does not match"));
    }
    let body = &mut bytes;
    let revision = Revision {
        number: body.try_get_u64_le().map_err(|_| SHORT)?,
        time_ms: body.try_get_i64_le().map_err(|_| SHORT)?,
        version: Some(get_str(body).ok_or(SHORT)?)
            .filter(|version| !version.is_empty())
            .map(Version::from),
    };
    let found = get_str(body).ok_or(SHORT)?;
    if found != fleet {
        return Err(LoadError::OtherFleet {
            found: found.to_owned(),
            expected: fleet.to_owned(),
        });
    }
    let server = Arc::from(get_str(body).ok_or(SHORT)?);
    let count = body.try_get_u64_le().map_err(|_| SHORT)?;
    // A map is made in one go of what comes in order, as it was written.
    let mut edits = Vec::new();
    let mut faults = Vec::new();
    for _ in 0..count {
        let of = body.try_get_u8().map_err(|_| SHORT)?;
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| code(*kind) == of)
            .ok_or(LoadError::Damaged("a resource is of an unknown kind"))?;
        let version = Version::from(get_str(body).ok_or(SHORT)?);
        let wire = get_slice(body).ok_or(SHORT)?;
        let wire = Bytes::from(match kind {
            Kind::Component => with_bytes(wire, &component)?,
            _ => wire.to_vec(),
        });
        match Resource::decode(kind, wire.clone()) {
            Ok(resource) => {
                let id: Id = resource.id();
                let received = Received { version, wire };
                edits.push((id, Edit::Put { resource, received }));
            }
            Err(found) => faults.extend(found),
        }
    }
    if !body.is_empty() {
        return Err(LoadError::Damaged("it goes on after its end"));
    }
    if !faults.is_empty() {
        return Err(LoadError::Invalid(faults));
    }
    let Candidate { held, .. } = Held::default()
        .edit(BTreeMap::from_iter(edits), revision)
        .map_err(LoadError::Invalid)?;
    if format != format_of(&held) {
        return Err(LoadError::Damaged(
            "its format is not that of what it holds",
        ));
    }
    Ok(Saved { held, server })
}

/// There are no components.
#[cfg(any(test, fuzzing))]
pub(super) fn no_component(_: &Name) -> io::Result<Bytes> {
    Err(io::ErrorKind::NotFound.into())
}

fn get_slice<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
    body.split_off(..length)
}

fn get_str<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(get_slice(body)?).ok()
}

#[cfg(test)]
mod tests;
