//! The files a command is given, read into documents.

use std::{collections::HashMap, io::Read as _, path::PathBuf};

use anyhow::Context as _;
use fleetway_api::{
    FieldError, Id,
    document::Faulty,
    files::{self, Located, Source},
    proto::v1,
};

use crate::exit::Faults;

/// Documents with the files they are from; at least one, each resource once. `R` is what their
/// check makes of them.
pub(crate) struct Input<R> {
    /// Them, in the order of the files.
    pub(crate) documents: Vec<Located<R>>,
}

const STANDARD_INPUT: &str = "standard input";

/// The files as they are read: all of it good, or not.
pub(crate) type Read<R> = Result<Input<R>, Faulty<Located<R>>>;

impl<R> Input<R> {
    /// Reads files, folders and, for `-`, standard input, all of which must be good.
    pub(crate) fn read(
        paths: &[PathBuf],
        check: impl Fn(v1::Resource) -> Result<R, Vec<FieldError>>,
    ) -> anyhow::Result<Self> {
        match Self::try_read(paths, check)? {
            Ok(input) => Ok(input),
            Err(faulty) => Err(Faults::from(faulty.faults).into()),
        }
    }

    /// Reads files, folders and, for `-`, standard input.
    pub(crate) fn try_read(
        paths: &[PathBuf],
        check: impl Fn(v1::Resource) -> Result<R, Vec<FieldError>>,
    ) -> anyhow::Result<Read<R>> {
        let (standard, named): (Vec<PathBuf>, Vec<PathBuf>) = paths
            .iter()
            .cloned()
            .partition(|path| path.as_os_str() == "-");
        let (mut sources, unread) = files::load(&named);
        if !standard.is_empty() {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            sources.push(Source {
                path: STANDARD_INPUT.into(),
                text,
            });
        }
        let documents = match files::read_loaded(sources, unread, check) {
            Ok(documents) => documents,
            Err(faulty) => return Ok(Err(faulty)),
        };
        if documents.is_empty() {
            let places: Vec<String> = paths
                .iter()
                .map(|path| match path.to_str() {
                    Some("-") => STANDARD_INPUT.to_owned(),
                    _ => path.display().to_string(),
                })
                .collect();
            anyhow::bail!(
                "there are no resources in {}: a file holds documents with `kind` and `name`, a folder such files called *.yaml, *.yml or *.json",
                places.join(", ")
            );
        }
        Ok(Ok(Self { documents }))
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
