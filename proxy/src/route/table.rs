//! The routes of one listener.

use std::{fmt, hash::BuildHasher as _, sync::Arc};

use fleetway_api::{HostPattern, Route};
use foldhash::fast::RandomState;

use super::{
    RequestView, Routed, conditions::Search, counts::Counts, hash_trie::HashTrie, host,
    vhost::VirtualHost,
};

/// An immutable route table. A clone costs a few pointers; a changed table shares with the one it
/// was made from all that the change does not touch.
pub struct RouteTable<P> {
    /// By exact host and by the suffix of a wildcard.
    hosts: HashTrie<Arc<VirtualHost<Arc<P>>>>,
    any: Option<Arc<VirtualHost<Arc<P>>>>,
    /// The lengths of the wildcards' suffixes, so that only those are tried.
    wildcard_lengths: Counts<u16>,
    hasher: RandomState,
    len: usize,
}

/// One change to a table.
#[derive(Debug)]
pub enum Change<'c, P> {
    /// Take out the route of this name. Its hosts and path must be as they were when it was added.
    /// Removing what is not there does nothing.
    Remove(&'c Route),
    /// Add a route. One of the same name must have been removed before.
    Add(Arc<P>),
}

impl<P: Routed> RouteTable<P> {
    /// The table of these routes; no name may be there twice.
    pub fn new(routes: impl IntoIterator<Item = Arc<P>>) -> Self {
        let mut table = Self::default();
        for route in routes {
            table.add(&route);
        }
        table
    }

    /// The table with these changes made, one after the other. Takes time in proportion to the
    /// changes, not to the table; lists of regexes, and of routes that differ in nothing but their
    /// conditions, are copied whole.
    #[must_use]
    pub fn update<'c>(&self, changes: impl IntoIterator<Item = Change<'c, P>>) -> Self
    where
        P: 'c,
    {
        let mut next = self.clone();
        for change in changes {
            match change {
                Change::Remove(route) => next.remove(route),
                Change::Add(route) => next.add(&route),
            }
        }
        next
    }

    /// The route that takes the request: the first in [the order](super#the-order) that matches.
    /// Allocates nothing but to decode a query that conditions look at, or to write a host in
    /// lower case.
    #[must_use]
    pub fn lookup(&self, request: &RequestView<'_>) -> Option<&Arc<P>> {
        let host = host::normalise(request.host);
        let mut search = Search::new(*request);
        if let Some(vhost) = self.exact(&host) {
            vhost.search(&self.hasher, &mut search);
        }
        for length in self.wildcard_lengths.iter() {
            if let Some(vhost) = self.wildcard(&host, length.into()) {
                vhost.search(&self.hasher, &mut search);
            }
        }
        if let Some(vhost) = &self.any {
            vhost.search(&self.hasher, &mut search);
        }
        search.finish()
    }

    /// What the table holds under the route's name, hosts and path.
    #[must_use]
    pub fn get(&self, route: &Route) -> Option<&Arc<P>> {
        let vhost = match route.hosts.first()? {
            HostPattern::Any => self.any.as_ref(),
            HostPattern::Exact(host) => self.exact(host),
            HostPattern::Wildcard(suffix) => self.hosts.get(self.hasher.hash_one(suffix)).find(
                |vhost| matches!(vhost.pattern(), HostPattern::Wildcard(other) if other == suffix),
            ),
        };
        vhost?.get(&self.hasher, route)
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All routes, each once, in no order.
    pub fn for_each<'t>(&'t self, mut found: impl FnMut(&'t Arc<P>)) {
        for vhost in self.hosts.iter().chain(&self.any) {
            vhost.for_each(&mut |entry| {
                // A route with several hosts counts at its first.
                if entry.route().hosts.first() == Some(vhost.pattern()) {
                    found(entry);
                }
            });
        }
    }

    /// Whether no trace of a route is left.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.is_empty()
            && self.hosts.is_empty()
            && self.any.is_none()
            && self.wildcard_lengths.greatest().is_none()
    }

    fn exact(&self, host: &str) -> Option<&Arc<VirtualHost<Arc<P>>>> {
        self.hosts
            .get(self.hasher.hash_one(host))
            .find(|vhost| matches!(vhost.pattern(), HostPattern::Exact(other) if **other == *host))
    }

    /// The wildcard for the last `length` bytes of `host`, if a label and a dot are before them.
    fn wildcard(&self, host: &str, length: usize) -> Option<&Arc<VirtualHost<Arc<P>>>> {
        let start = host.len().checked_sub(length).filter(|start| *start > 0)?;
        let suffix = host.get(start..).filter(|suffix| suffix.starts_with('.'))?;
        self.hosts.get(self.hasher.hash_one(suffix)).find(
            |vhost| matches!(vhost.pattern(), HostPattern::Wildcard(other) if **other == *suffix),
        )
    }

    fn hash(&self, pattern: &HostPattern) -> u64 {
        match pattern {
            HostPattern::Exact(text) | HostPattern::Wildcard(text) => self.hasher.hash_one(text),
            HostPattern::Any => 0,
        }
    }

    fn add(&mut self, entry: &Arc<P>) {
        for pattern in &entry.route().hosts {
            let hasher = &self.hasher;
            if *pattern == HostPattern::Any {
                let any = self
                    .any
                    .get_or_insert_with(|| Arc::new(VirtualHost::new(HostPattern::Any)));
                Arc::make_mut(any).insert(hasher, entry.clone());
                continue;
            }
            let hash = self.hash(pattern);
            if let Some(vhost) = self.hosts.get_mut(hash, |vhost| vhost.pattern() == pattern) {
                Arc::make_mut(vhost).insert(hasher, entry.clone());
            } else {
                let mut vhost = VirtualHost::new(pattern.clone());
                vhost.insert(hasher, entry.clone());
                self.hosts.insert(hash, Arc::new(vhost), |_| true);
                if let HostPattern::Wildcard(suffix) = pattern {
                    self.wildcard_lengths.add(suffix_length(suffix));
                }
            }
        }
        self.len += 1;
    }

    fn remove(&mut self, route: &Route) {
        let mut removed = false;
        for pattern in &route.hosts {
            let hash = self.hash(pattern);
            let is = |vhost: &Arc<VirtualHost<Arc<P>>>| vhost.pattern() == pattern;
            let vhost = match pattern {
                HostPattern::Any => self.any.as_mut(),
                _ => self.hosts.get_mut(hash, is),
            };
            let Some(vhost) = vhost.map(Arc::make_mut) else {
                continue;
            };
            removed |= vhost.remove(&self.hasher, route).is_some();
            if !vhost.is_empty() {
                continue;
            }
            match pattern {
                HostPattern::Any => self.any = None,
                HostPattern::Exact(_) => {
                    self.hosts.remove(hash, is);
                }
                HostPattern::Wildcard(suffix) => {
                    self.hosts.remove(hash, is);
                    self.wildcard_lengths.remove(suffix_length(suffix));
                }
            }
        }
        self.len -= usize::from(removed);
    }
}

/// Host patterns are bounded far below; a longer one would only be tried in vain.
fn suffix_length(suffix: &str) -> u16 {
    u16::try_from(suffix.len()).unwrap_or(u16::MAX)
}

impl<P> Clone for RouteTable<P> {
    fn clone(&self) -> Self {
        Self {
            hosts: self.hosts.clone(),
            any: self.any.clone(),
            wildcard_lengths: self.wildcard_lengths.clone(),
            hasher: self.hasher.clone(),
            len: self.len,
        }
    }
}

impl<P> Default for RouteTable<P> {
    fn default() -> Self {
        Self {
            hosts: HashTrie::default(),
            any: None,
            wildcard_lengths: Counts::default(),
            hasher: RandomState::default(),
            len: 0,
        }
    }
}

impl<P> fmt::Debug for RouteTable<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
