//! The routes of one host pattern.

use std::{hash::BuildHasher as _, sync::Arc};

use fleetway_api::{HostPattern, PathMatch, Route};
use foldhash::fast::RandomState;

use super::{
    Routed,
    conditions::{self, Search, is_same, precedes},
    counts::Counts,
    hash_trie::HashTrie,
    template::Templates,
};

/// A virtual host. A clone shares everything but the regexes' list, so a change costs the same
/// however many routes it has.
#[derive(Clone)]
pub(super) struct VirtualHost<T> {
    pattern: HostPattern,
    exact: HashTrie<T>,
    templates: Option<Arc<Templates<T>>>,
    prefixes: HashTrie<T>,
    /// The lengths of the prefixes, so that only those are tried.
    prefix_lengths: Counts<u16>,
    /// In order.
    regexes: Vec<T>,
    priorities: Counts<i32>,
}

impl<T> VirtualHost<T> {
    pub(super) fn new(pattern: HostPattern) -> Self {
        Self {
            pattern,
            exact: HashTrie::default(),
            templates: None,
            prefixes: HashTrie::default(),
            prefix_lengths: Counts::default(),
            regexes: Vec::new(),
            priorities: Counts::default(),
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
        self.exact
            .iter()
            .chain(self.prefixes.iter())
            .chain(&self.regexes)
            .for_each(&mut *found);
        if let Some(templates) = &self.templates {
            templates.for_each(found);
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
            search.offer(
                self.exact.get(hasher.hash_one(path)),
                |pattern| matches!(pattern, PathMatch::Exact(exact) if **exact == *path),
            );
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
            search.offer(
                self.prefixes.get(hasher.hash_one(head)),
                |pattern| matches!(pattern, PathMatch::Prefix(prefix) if **prefix == *head),
            );
            if search.is_settled(top) {
                return;
            }
        }
        search.offer(
            &self.regexes,
            |pattern| matches!(pattern, PathMatch::Regex(regex) if regex.is_match(path)),
        );
    }

    /// The entry of `route`, or of what has its name and path.
    pub(super) fn get(&self, hasher: &RandomState, route: &Route) -> Option<&T> {
        let is = |entry: &&T| is_same(*entry, route);
        match &route.path {
            PathMatch::Exact(path) => self.exact.get(hasher.hash_one(path)).find(is),
            PathMatch::Prefix(path) => self.prefixes.get(hasher.hash_one(path)).find(is),
            PathMatch::Template(template) => self
                .templates
                .as_ref()?
                .get(template.segments(), hasher)
                .iter()
                .find(is),
            PathMatch::Regex(_) => self.regexes.iter().find(is),
        }
    }
}

impl<T: Routed + Clone> VirtualHost<T> {
    pub(super) fn insert(&mut self, hasher: &RandomState, entry: T) {
        let by = entry.clone();
        let route = by.route();
        let before = |other: &T| precedes(other.route(), route);
        match &route.path {
            PathMatch::Exact(path) => self.exact.insert(hasher.hash_one(path), entry, before),
            PathMatch::Prefix(path) => {
                self.prefixes.insert(hasher.hash_one(path), entry, before);
                self.prefix_lengths.add(prefix_length(path));
            }
            PathMatch::Template(template) => {
                let templates = Arc::make_mut(self.templates.get_or_insert_default());
                templates.insert(template.segments(), hasher, entry);
            }
            PathMatch::Regex(_) => conditions::insert(&mut self.regexes, entry),
        }
        self.priorities.add(route.priority);
    }

    /// Takes out `route`, or what has its name and path.
    pub(super) fn remove(&mut self, hasher: &RandomState, route: &Route) -> Option<T> {
        let is = |entry: &T| is_same(entry, route);
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
        self.priorities.remove(removed.route().priority);
        Some(removed)
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
