//! The routes of one host pattern.

use std::{hash::BuildHasher as _, sync::Arc};

use fleetway_api::{HostPattern, PathMatch, Route};
use foldhash::fast::RandomState;

use super::{
    Routed,
    conditions::{self, Search, Slot, precedes},
    counts::{Lengths, Priorities},
    hash_trie::HashTrie,
    template::Templates,
};

/// A virtual host. A clone shares everything but the list of the regexes, so a change costs much
/// the same however many routes there are.
#[derive(Clone)]
pub(super) struct VirtualHost<T> {
    pattern: HostPattern,
    exact: HashTrie<Slot<T>>,
    templates: Option<Arc<Templates<T>>>,
    prefixes: HashTrie<Slot<T>>,
    /// The lengths of the prefixes, so that only those are tried.
    prefix_lengths: Lengths,
    /// In order.
    regexes: Vec<Slot<T>>,
    priorities: Priorities,
}

impl<T> VirtualHost<T> {
    pub(super) fn new(pattern: HostPattern) -> Self {
        Self {
            pattern,
            exact: HashTrie::default(),
            templates: None,
            prefixes: HashTrie::default(),
            prefix_lengths: Lengths::default(),
            regexes: Vec::new(),
            priorities: Priorities::default(),
        }
    }

    pub(super) fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    pub(super) fn is_empty(&self) -> bool {
        self.priorities.greatest().is_none()
    }

    /// All routes, in no order.
    pub(super) fn for_each<'t>(&'t self, found: &mut impl FnMut(&'t T)) {
        let mut found = |slot: &'t Slot<T>| found(&slot.entry);
        self.exact
            .iter()
            .chain(self.prefixes.iter())
            .chain(&self.regexes)
            .for_each(&mut found);
        if let Some(templates) = &self.templates {
            templates.for_each(&mut found);
        }
    }
}

impl<T: Routed> VirtualHost<T> {
    /// Offers the routes whose path matches, in order but for their priority.
    pub(super) fn search<'t>(&'t self, hasher: &RandomState, search: &mut Search<'_, 't, T>) {
        let Some(top) = self.priorities.greatest() else {
            return;
        };
        let path = search.path();
        if search.is_settled(top) {
            return;
        }
        if !self.exact.is_empty() {
            search.offer(self.exact.get(hasher.hash_one(path)), |slot| {
                *slot.text == *path
            });
            if search.is_settled(top) {
                return;
            }
        }
        if let Some(templates) = &self.templates
            && let Some(rest) = path.strip_prefix('/')
        {
            templates.search(Some(rest), hasher, top, search);
            if search.is_settled(top) {
                return;
            }
        }
        for length in self.prefix_lengths.iter() {
            let Some(head) = leading_segments(path, length.into()) else {
                continue;
            };
            search.offer(self.prefixes.get(hasher.hash_one(head)), |slot| {
                *slot.text == *head
            });
            if search.is_settled(top) {
                return;
            }
        }
        search.offer(
            &self.regexes,
            |slot| matches!(&slot.route().path, PathMatch::Regex(regex) if regex.is_match(path)),
        );
    }

    /// The entry of `route`, or of what has its name and path.
    pub(super) fn get(&self, hasher: &RandomState, route: &Route) -> Option<&T> {
        let is = |slot: &&Slot<T>| slot.is(route);
        let slot = match &route.path {
            PathMatch::Exact(path) => self.exact.get(hasher.hash_one(path)).find(is),
            PathMatch::Prefix(path) => self.prefixes.get(hasher.hash_one(path)).find(is),
            PathMatch::Template(template) => self
                .templates
                .as_ref()?
                .get(template.segments(), hasher)
                .iter()
                .find(is),
            PathMatch::Regex(_) => self.regexes.iter().find(is),
        };
        slot.map(|slot| &slot.entry)
    }
}

impl<T: Routed + Clone> VirtualHost<T> {
    pub(super) fn insert(&mut self, hasher: &RandomState, entry: T) {
        let slot = Slot::new(entry.clone());
        let route = entry.route();
        let before = |other: &Slot<T>| precedes(other.route(), route);
        match &route.path {
            PathMatch::Exact(path) => self.exact.insert(hasher.hash_one(path), slot, before),
            PathMatch::Prefix(path) => {
                self.prefixes.insert(hasher.hash_one(path), slot, before);
                self.prefix_lengths.add(prefix_length(path));
            }
            PathMatch::Template(template) => {
                let templates = Arc::make_mut(self.templates.get_or_insert_default());
                templates.insert(template.segments(), hasher, slot);
            }
            PathMatch::Regex(_) => conditions::insert(&mut self.regexes, slot),
        }
        self.priorities.add(route.priority);
    }

    /// Takes out `route`, or what has its name and path.
    pub(super) fn remove(&mut self, hasher: &RandomState, route: &Route) -> Option<T> {
        let is = |slot: &Slot<T>| slot.is(route);
        let removed = match &route.path {
            PathMatch::Exact(path) => self.exact.remove(hasher.hash_one(path), is),
            PathMatch::Prefix(path) => {
                let removed = self.prefixes.remove(hasher.hash_one(path), is)?;
                self.prefix_lengths.remove(prefix_length(path));
                Some(removed)
            }
            PathMatch::Template(template) => {
                let templates = Arc::make_mut(self.templates.as_mut()?);
                let removed = templates.remove(template.segments(), hasher, route);
                if templates.is_empty() {
                    self.templates = None;
                }
                removed
            }
            PathMatch::Regex(_) => conditions::remove(&mut self.regexes, route),
        }?;
        self.priorities.remove(removed.priority);
        Some(removed.entry)
    }
}

/// The first `length` bytes of `path`, if they are whole segments.
fn leading_segments(path: &str, length: usize) -> Option<&str> {
    match path.as_bytes().get(length) {
        // Nothing is a prefix of everything, `*` too.
        _ if length == 0 => Some(""),
        Some(b'/') => path.get(..length),
        None if length == path.len() => Some(path),
        _ => None,
    }
}

/// Patterns are bounded far below; a longer one would only be tried in vain.
fn prefix_length(prefix: &str) -> u16 {
    u16::try_from(prefix.len()).unwrap_or(u16::MAX)
}
