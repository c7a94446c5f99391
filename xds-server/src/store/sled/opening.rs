//! What is checked before a directory is taken for a store.

use std::{fs, path::Path};

use super::{
    super::{
        StoreError,
        files::{LOCK, Mark},
    },
    FIRST_FORMAT, FOLDER, FORMAT, FORMAT_KEY,
};

/// Refuses a directory with files in it that are none of ours, before anything is written to it.
pub(super) fn refuse_foreign(dir: &Path) -> std::io::Result<Result<(), StoreError>> {
    let mut foreign = None;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == FOLDER && entry.path().join("db").is_file() {
            return Ok(Ok(()));
        }
        let ours = [FOLDER, LOCK, Mark::NAME, "addresses.json", "lost+found"];
        if !ours.iter().any(|known| name == *known) {
            foreign = Some(name);
        }
    }
    Ok(match foreign {
        None => Ok(()),
        Some(name) => Err(StoreError::Format(format!(
            "the directory {} holds \"{}\" and no data of fleetway-xds: give --data an empty or new directory",
            dir.display(),
            name.display()
        ))),
    })
}

/// The format a store says it is of.
pub(super) fn format(meta: &sled::Tree) -> Result<Option<u64>, StoreError> {
    Ok(meta.get(FORMAT_KEY)?.and_then(|text| number(&text)))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(super) fn check_format(database: &sled::Db, dir: &Path) -> Result<(), StoreError> {
    let foreign = || {
        StoreError::Format(format!(
            "the data in {} was not written by fleetway-xds: give --data an empty or new directory",
            dir.display()
        ))
    };
    let names = database.tree_names();
    let format = if names.iter().any(|name| name == b"meta") {
        database.open_tree("meta")?.get(FORMAT_KEY)?
    } else {
        None
    };
    let Some(format) = format else {
        // A process that died while making the store leaves empty trees.
        for name in names {
            if !database.open_tree(name)?.is_empty() {
                return Err(foreign());
            }
        }
        return Ok(());
    };
    match number(&format) {
        Some(FIRST_FORMAT..=FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(StoreError::Format(format!(
            "the data in {} was written by a newer fleetway-xds (format {newer}, this one reads {FORMAT}): start that version",
            dir.display()
        ))),
        _ => Err(foreign()),
    }
}
