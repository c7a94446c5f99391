//! The documents of `testdata/resources`: valid ones are taken, of invalid ones every fault is
//! told as the `.errors` beside them says. `FLEETWAY_UPDATE=1` writes what is told there instead.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use fleetway_api::{
    Change, Entry, FieldError, Resource, ResourceSet,
    document::{self, Format},
    files::{self, Source},
};

pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

/// The documents below a folder of `testdata/resources`, by name.
fn texts(folder: &str) -> Vec<Source> {
    let root = testdata().join("resources").join(folder);
    let (mut sources, errors) = files::load(std::slice::from_ref(&root));
    assert_eq!(errors, []);
    for source in &mut sources {
        source.path = source.path.strip_prefix(&root).unwrap().to_owned();
    }
    assert!(!sources.is_empty());
    sources
}

fn faults(source: Source) -> Vec<FieldError> {
    let documents = match files::read_loaded(vec![source], Vec::new(), Resource::read) {
        Ok(documents) => documents,
        Err(faulty) => return faulty.faults,
    };
    let changes = documents
        .into_iter()
        .map(|(_, _, resource)| Change::Put(Arc::new(Entry { resource, data: () })))
        .collect();
    match ResourceSet::default().apply(changes) {
        Ok(_) => Vec::new(),
        Err(rejection) => rejection.errors,
    }
}

#[test]
fn valid_documents_are_taken() {
    for source in texts("valid") {
        let path = source.path.clone();
        assert_eq!(faults(source), [], "{}", path.display());
    }
}

#[test]
fn valid_documents_are_the_same_after_json_and_yaml() {
    for source in texts("valid") {
        let read = files::read_loaded(vec![source], Vec::new(), Resource::read).unwrap();
        let values: Vec<_> = read
            .iter()
            .map(|(_, document, _)| document::write_whole(&document.message, None))
            .collect();
        for format in [Format::Json, Format::Yaml] {
            let text = document::to_text(&values, format);
            let again = document::read_all(&text, format, "again").unwrap();
            for ((_, one, _), (two, _)) in read.iter().zip(&again) {
                assert_eq!(one.message, two.message);
            }
        }
    }
}

#[test]
fn every_fault_of_an_invalid_document_is_told() {
    let root = testdata().join("resources/invalid");
    let update = std::env::var_os("FLEETWAY_UPDATE").is_some();
    for source in texts("invalid") {
        let expected = root.join(&source.path).with_extension("errors");
        let path = source.path.clone();
        let told: String = faults(source)
            .iter()
            .map(|fault| format!("{fault}\n"))
            .collect();
        assert!(!told.is_empty(), "{} is valid", path.display());
        if update {
            fs::write(&expected, &told).unwrap();
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, known, "{}", path.display());
    }
}

#[test]
fn no_expectation_is_left_without_its_document() {
    let root = testdata().join("resources/invalid");
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "errors")
        {
            let found = ["yaml", "json"]
                .iter()
                .any(|extension| path.with_extension(extension).exists());
            assert!(found, "{}", path.display());
        }
    }
}
