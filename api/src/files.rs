//! Resources in files: which files a path stands for, and what all of them say together.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    FieldError, Id, Resource,
    document::{self, Document, Faulty, Format},
    proto::v1,
};

/// A text with where it comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it comes from. Names it in errors; its extension `json` makes it JSON.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A document with the file it is from and what its check made of it.
pub type Located<R = Resource> = (PathBuf, Document, R);

/// The deepest that folders are followed.
const MAX_DEPTH: usize = 32;

/// Reads and validates every document of the files and folders, each by itself.
///
/// A file that is named is read whatever it is called. Of a folder it is every `*.yaml`, `*.yml`
/// and `*.json` in it and in the folders below, in the order of their paths; what begins with a
/// dot is passed over, and so are links to folders (links to files are read).
///
/// # Errors
/// Every fault of every file, with the file; two documents of the same resource are one.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<Located>, Faulty<Located>> {
    let (sources, errors) = load(paths);
    read_loaded(sources, errors, Resource::read)
}

/// The texts of the files and folders, as [`read_files`] finds them, and what cannot be read.
#[must_use]
pub fn load(paths: &[PathBuf]) -> (Vec<Source>, Vec<FieldError>) {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        find(path, 0, &mut files, &mut errors);
    }
    let mut sources = Vec::with_capacity(files.len());
    for path in files {
        match fs::read_to_string(&path) {
            Ok(text) => sources.push(Source { path, text }),
            Err(error) => errors.push(unreadable(&path, &error)),
        }
    }
    (sources, errors)
}

/// Reads and validates every document of the texts, as [`read_files`] does; `unread` are the
/// faults of those that could not be loaded, `check` is [`Resource::read`] or [`Resource::check`].
///
/// # Errors
/// Every fault of every text, with where it comes from, and the documents without.
pub fn read_loaded<R>(
    sources: Vec<Source>,
    unread: Vec<FieldError>,
    check: impl Fn(v1::Resource) -> Result<R, Vec<FieldError>>,
) -> Result<Vec<Located<R>>, Faulty<Located<R>>> {
    let mut valid = Vec::new();
    let mut invalid = vec![Value::Null; unread.len()];
    let mut faults = unread;
    let mut known: BTreeMap<Id, PathBuf> = BTreeMap::new();
    for Source { path, text } in sources {
        let place = path.display().to_string();
        let read = document::read_all_as(&text, format_of(&path, &text), &place, &check);
        let read = read.unwrap_or_else(|faulty| {
            let found = faulty.faults.into_iter();
            faults.extend(found.map(|fault| in_file(&path, fault)));
            invalid.extend(faulty.invalid);
            faulty.valid
        });
        for (document, checked) in read {
            if let Some(first) = known.get(&document.id) {
                faults.push(in_file(&path, twice(&document.id, first, &path)));
                continue;
            }
            known.insert(document.id.clone(), path.clone());
            valid.push((path.clone(), document, checked));
        }
    }
    if faults.is_empty() {
        Ok(valid)
    } else {
        Err(Faulty {
            faults,
            valid,
            invalid,
        })
    }
}

/// The fault with the file it is in before the resource: `web/routes.yaml: routes/users`.
#[must_use]
pub fn in_file(path: &Path, mut fault: FieldError) -> FieldError {
    let place = path.display().to_string();
    if fault.resource.is_empty() {
        fault.resource = place;
    } else if !fault.resource.starts_with(&place) {
        fault.resource = format!("{place}: {}", fault.resource);
    }
    fault
}

fn twice(id: &Id, first: &Path, second: &Path) -> FieldError {
    let message = if first == second {
        "is there twice: leave one of them out, and name each file once".to_owned()
    } else {
        format!(
            "is in {} too: leave it out of one of the files",
            first.display()
        )
    };
    FieldError::new(id, "", message)
}

fn unreadable(path: &Path, error: &io::Error) -> FieldError {
    FieldError::new(path.display(), "", format!("cannot be read: {error}"))
}

/// By the extension; what has none that is known is JSON if it reads as JSON.
fn format_of(path: &Path, text: &str) -> Format {
    let is = |wanted: &str| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
    };
    if is("yaml") || is("yml") {
        Format::Yaml
    } else if is("json") || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        Format::Json
    } else {
        Format::Yaml
    }
}

/// Notes the files `path` stands for. At depth 0 it is what the user named.
fn find(path: &Path, depth: usize, files: &mut Vec<PathBuf>, errors: &mut Vec<FieldError>) {
    let listed = match fs::metadata(path) {
        Ok(about) if about.is_dir() => fs::read_dir(path).and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<PathBuf>>>()
        }),
        Ok(_) => {
            files.push(path.to_owned());
            return;
        }
        Err(error) => Err(error),
    };
    let mut entries = match listed {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(unreadable(path, &error));
            return;
        }
    };
    entries.retain(|entry| !is_hidden(entry));
    entries.sort();
    for entry in entries {
        let is_link = fs::symlink_metadata(&entry).is_ok_and(|about| about.is_symlink());
        if !entry.is_dir() {
            // A link to nowhere is kept, to be reported; a pipe or a socket is no file to read.
            if is_resource_file(&entry) && (is_link || entry.is_file()) {
                files.push(entry);
            }
        } else if is_link {
            // It may lead back to where it stands.
        } else if depth == MAX_DEPTH {
            let message = format!("lies more than {MAX_DEPTH} folders deep");
            errors.push(FieldError::new(entry.display(), "", message));
        } else {
            find(&entry, depth + 1, files, errors);
        }
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_resource_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}
