//! Compiled components on disk, so that a process that starts anew need not compile them again.
//!
//! What is compiled is machine code that is run as it is. So a file counts only with a code over it
//! (HMAC-SHA256) under a key that nobody but this process's user can read: what anyone else has
//! written or changed is compiled anew, never run.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, DirBuilder, OpenOptions},
    hash::{Hash as _, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{self, SHA256, SHA256_OUTPUT_LEN},
    hmac, rand,
};
use rustix::fs::OFlags;
use wasmtime::{Engine, component::Component};

/// The key's file.
const KEY: &str = "key";
const KEY_LEN: usize = 32;
const ENDING: &str = ".cwasm";
const TEMPORARY: &str = ".tmp";

/// A folder of compiled components, each with its code in front.
pub(crate) struct Cache {
    folder: PathBuf,
    key: hmac::Key,
    /// What machine code is for: the version of the compiler, its settings, the processor.
    engine: String,
}

impl Cache {
    /// Opens a folder, made if it is not there, and its key.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut compatible = Digest(digest::Context::new(&SHA256));
        engine.precompile_compatibility_hash().hash(&mut compatible);
        Ok(Self {
            folder: folder.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key(folder)?),
            engine: hex(compatible.0.finish().as_ref()),
        })
    }

    /// What was compiled of a component, if it is there and can be trusted.
    pub(crate) fn read(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let file = match read_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a compiled component cannot be read: it is compiled anew");
                return None;
            }
        };
        let Some(code) = self.verified(digest, &file) else {
            tracing::warn!(file = %path.display(), "a compiled component is not what this proxy has written: it is compiled anew");
            return None;
        };
        // SAFETY: these bytes are what `Component::serialize` gave. They carry a code that only the
        // holder of the key can make; the key is random, in a file that only this process's user owns
        // and reads, and nothing but `write` makes codes with it. They are in memory, where nobody
        // changes them between the check and their use. The code is over the name of the component
        // and of the engine too, so no file stands for another.
        let component = unsafe { Component::deserialize(engine, code) };
        component
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), error = format!("{error:#}"), "a compiled component cannot be used: it is compiled anew");
            })
            .ok()
    }

    /// Keeps what was compiled. Without it things go on, so what goes wrong is only logged.
    pub(crate) fn write(&self, digest: &str, component: &Component) {
        let written = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| {
                let tag = self.tag(digest, &code);
                replace(&self.path(digest), &[tag.as_ref(), &code])
            });
        if let Err(error) = written {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled component cannot be kept: the next start compiles it again");
        }
    }

    /// Removes the files of all other components, and those of other versions.
    pub(crate) fn retain(&self, digests: &[&str]) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let held: BTreeSet<PathBuf> = digests.iter().map(|digest| self.path(digest)).collect();
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.as_os_str().as_encoded_bytes();
            let ours = name.ends_with(ENDING.as_bytes()) || name.ends_with(TEMPORARY.as_bytes());
            if !ours || held.contains(&path) {
                continue;
            }
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(file = %path.display(), %error, "a compiled component that is no longer needed cannot be removed");
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        let version = self.engine.get(..16).unwrap_or(&self.engine);
        self.folder.join(format!("{digest}-{version}{ENDING}"))
    }

    /// The compiled component in a file, if its code is right.
    fn verified<'f>(&self, digest: &str, file: &'f [u8]) -> Option<&'f [u8]> {
        let (tag, code) = file.split_at_checked(SHA256_OUTPUT_LEN)?;
        verify_slices_are_equal(self.tag(digest, code).as_ref(), tag).ok()?;
        Some(code)
    }

    /// The code over what was compiled, of which component and for which engine. Both names have a
    /// length of their own, so no two files have the same bytes before them.
    fn tag(&self, digest: &str, code: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [digest.as_bytes(), self.engine.as_bytes(), code] {
            context.update(part);
        }
        context.sign()
    }
}

/// The SHA-256 of a component, in hexadecimal.
pub(crate) fn digest_of(component: &[u8]) -> String {
    hex(digest::digest(&SHA256, component).as_ref())
}

/// The key of a folder, made if there is none that is this user's alone.
fn key(folder: &Path) -> io::Result<[u8; KEY_LEN]> {
    let path = folder.join(KEY);
    let user = user(folder)?;
    match read_key(&path, user) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => {
            tracing::warn!(file = %path.display(), "the key of the compiled components could be known to others, or is none: there is a new one, and all are compiled anew");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| io::Error::other("the system has no randomness"))?;
    replace(&path, &[&key])?;
    Ok(key)
}

/// The user whose files this process makes in a folder.
fn user(folder: &Path) -> io::Result<u32> {
    let path = folder.join(format!("user.{}{TEMPORARY}", std::process::id()));
    write_new(&path, &[])?;
    let about = fs::symlink_metadata(&path);
    fs::remove_file(&path)?;
    Ok(about?.uid())
}

/// The key in a file; none if the file is not this user's, others can reach it, or it is no key.
fn read_key(path: &Path, user: u32) -> io::Result<Option<[u8; KEY_LEN]>> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_file() {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(no_links());
    let mut file = options.open(path)?;
    let about = file.metadata()?;
    let alone = about.is_file() && about.uid() == user && about.mode() & 0o077 == 0;
    if !alone || about.len() != KEY_LEN as u64 {
        return Ok(None);
    }
    let mut key = [0; KEY_LEN];
    file.read_exact(&mut key)?;
    Ok(Some(key))
}

/// The bytes of a file; of what is none, such as a pipe, an error and not a wait.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(no_links());
    let mut file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts a file that only this user can read in the place of another, so that no reader sees half of
/// it.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}{TEMPORARY}", std::process::id()));
    let written = write_new(&temporary, parts).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // If it cannot be removed now, `retain` will.
        let _left = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    // What another process of this number has left: a file is written to only if it was made here.
    let _none = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn no_links() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of what is hashed: the same in each process, unlike the hashes of maps.
struct Digest(digest::Context);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not asked for: the whole digest is taken.
    fn finish(&self) -> u64 {
        0
    }
}
