//! Files that hold a private key: read only where nobody else can read them too.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// Why a key is not read. Says nothing of what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read, or is no text.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others could have read it, or put another key in its place.
    #[error(
        "{path} is open to others (mode {mode:04o}), and a private key must not be: run `chmod 600 {path}`. Its group may read it only where it belongs to root (mode 0640)",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Reads a key. A file must be for its owner alone; one of root may be read by its group too, as
/// where a service manager hands keys to a program that does not run as root. What is no file, such
/// as a pipe, has no others to guard against.
///
/// # Errors
/// When it cannot be read, or others can.
pub fn read(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    // Of what was opened, not of what the name stands for by now.
    let metadata = file.metadata().map_err(unreadable)?;
    if is_exposed(&metadata) {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    // With all its room at once: text that moves while it grows leaves copies behind.
    let size = usize::try_from(metadata.len()).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(size.saturating_add(1)));
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn is_exposed(metadata: &Metadata) -> bool {
    metadata.is_file() && is_open_to_others(metadata.mode(), metadata.uid())
}

/// Whether anyone but the owner may do anything with it; of root's files the group may read them.
fn is_open_to_others(mode: u32, owner: u32) -> bool {
    let allowed = if owner == 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn only_the_owner_may_do_anything_but_the_group_of_a_file_of_root_may_read() {
        for (mode, owner, open) in [
            (0o600, 1000, false),
            (0o400, 1000, false),
            (0o100_700, 1000, false),
            (0o640, 1000, true),
            (0o604, 1000, true),
            (0o620, 1000, true),
            (0o601, 1000, true),
            (0o100_640, 0, false),
            (0o440, 0, false),
            (0o660, 0, true),
            (0o644, 0, true),
        ] {
            assert_eq!(is_open_to_others(mode, owner), open, "{mode:o} of {owner}");
        }
    }

    #[test]
    fn a_key_others_can_read_is_refused_with_the_remedy_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.key");
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(&path, "private").unwrap();
        set(0o644);
        let error = read(&path).unwrap_err().to_string();
        let remedy = format!("run `chmod 600 {}`", path.display());
        assert!(
            error.contains("mode 0644") && error.contains(&remedy),
            "{error}"
        );
        assert!(!error.contains("private\""), "{error}");
        set(0o600);
        assert_eq!(read(&path).unwrap().as_str(), "private");
        // The name may be another's: what counts is the file.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap().as_str(), "private");
        set(0o606);
        assert!(read(&link).is_err());
        let missing = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(
            missing.starts_with("cannot read ") && missing.contains("No such file"),
            "{missing}"
        );
    }
}
