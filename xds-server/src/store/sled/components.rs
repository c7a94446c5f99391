//! Components beside the trees, and the format that tells of them.

use std::collections::BTreeSet;

use fleetway_api::{Id, Kind, Name, proto::v1};

use super::{
    super::{Commit, Record, StoreError, record::damaged},
    Batches, FIRST_FORMAT, FORMAT, FORMAT_KEY, SECRETS_FORMAT, SledStore, opening,
};

impl SledStore {
    /// Writes the bytes of the components in a commit.
    pub(super) fn keep_components(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        for (id, record) in commit.records {
            let message = record
                .as_ref()
                .and_then(|record| record.message.kind.as_ref());
            if let Some(v1::resource::Kind::Component(component)) = message {
                self.components.keep(&id.name, &component.wasm)?;
            }
        }
        Ok(())
    }

    /// Puts the bytes of components where they belong, and removes those that belong nowhere.
    pub(super) fn load_components(&self, records: &mut [Record]) -> Result<(), StoreError> {
        let mut names = BTreeSet::new();
        for record in records {
            if let Some(v1::resource::Kind::Component(component)) = &mut record.message.kind {
                let name = Name::new(&component.name).map_err(damaged)?;
                component.wasm = self.components.read(&name)?;
                names.insert(name);
            }
        }
        self.components.keep_only(&names);
        Ok(())
    }

    /// Adds the format that programs have to know which read what a commit stores.
    pub(super) fn keep_format(
        &self,
        commit: &Commit<'_>,
        batches: &mut Batches,
    ) -> Result<(), StoreError> {
        let of = |(id, _): &(Id, Option<Record>)| match id.kind {
            Kind::Component | Kind::Policy => FORMAT,
            Kind::Secret => SECRETS_FORMAT,
            _ => FIRST_FORMAT,
        };
        let needed = commit.records.iter().map(of).max();
        if let Some(needed) = needed.filter(|needed| *needed > FIRST_FORMAT)
            && needed > opening::format(&self.trees.meta)?.unwrap_or_default()
        {
            let format = needed.to_string();
            batches.meta.insert(FORMAT_KEY, format.as_bytes());
        }
        Ok(())
    }
}
