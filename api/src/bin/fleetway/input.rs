//! The files a command is given, read into documents.

use std::{collections::HashMap, io::Read as _, path::PathBuf};

use anyhow::Context as _;
use fleetway_api::{
    FieldError, Id, Resource,
    document::Document,
    files::{self, Source},
};

use crate::exit::Faults;

/// Documents with the files they are from; at least one, each resource once.
pub(crate) struct Input {
    /// Them, in the order of the files.
    pub(crate) documents: Vec<(PathBuf, Document, Resource)>,
}

impl Input {
    /// Reads files, folders and, for `-`, standard input.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let (standard, named): (Vec<PathBuf>, Vec<PathBuf>) = paths
            .iter()
            .cloned()
            .partition(|path| path.as_os_str() == "-");
        let (mut sources, mut faults) = files::load(&named);
        if !standard.is_empty() {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            sources.push(Source {
                path: "standard input".into(),
                text,
            });
        }
        let documents = match files::read_sources(sources) {
            Ok(documents) => documents,
            Err(more) => {
                faults.extend(more);
                Vec::new()
            }
        };
        if !faults.is_empty() {
            return Err(Faults::from(faults).into());
        }
        if documents.is_empty() {
            let places: Vec<String> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            anyhow::bail!(
                "there are no resources in {}: a file holds documents with `kind` and `name`, a folder such files called *.yaml, *.yml or *.json",
                places.join(", ")
            );
        }
        Ok(Self { documents })
    }

    /// The faults with the files of the resources they are about.
    pub(crate) fn locate(&self, faults: Vec<FieldError>) -> Vec<FieldError> {
        let files: HashMap<String, &PathBuf> = self
            .documents
            .iter()
            .map(|(path, document, _)| (document.id.to_string(), path))
            .collect();
        faults
            .into_iter()
            .map(|fault| match files.get(&fault.resource) {
                Some(path) => files::in_file(path, fault),
                None => fault,
            })
            .collect()
    }

    /// Which resources there are.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.documents.iter().map(|(_, document, _)| &document.id)
    }
}
