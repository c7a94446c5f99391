//! The path templates of a virtual host, as a tree of segments.

use std::{hash::BuildHasher as _, sync::Arc};

use fleetway_api::{Route, Segment};
use foldhash::fast::RandomState;

use super::{
    Routed,
    conditions::{self, Search},
    hash_trie::HashTrie,
};

/// The templates that go on from one point.
#[derive(Clone)]
pub(super) struct Templates<T> {
    /// The literal segment that leads here; empty where none does.
    segment: Box<str>,
    literals: HashTrie<Arc<Self>>,
    capture: Option<Arc<Self>>,
    /// Routes whose template ends here, in order.
    ends: Vec<T>,
    /// Routes whose template goes on with `{name*}`, in order.
    rests: Vec<T>,
}

impl<T> Default for Templates<T> {
    fn default() -> Self {
        Self::below("")
    }
}

impl<T> Templates<T> {
    fn below(segment: &str) -> Self {
        Self {
            segment: segment.into(),
            literals: HashTrie::default(),
            capture: None,
            ends: Vec::new(),
            rests: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.capture.is_none()
            && self.ends.is_empty()
            && self.rests.is_empty()
    }

    fn literal(&self, hasher: &RandomState, segment: &str) -> Option<&Arc<Self>> {
        self.literals
            .get(hasher.hash_one(segment))
            .find(|node| *node.segment == *segment)
    }

    /// All routes, in no order.
    pub(super) fn for_each<'t>(&'t self, found: &mut impl FnMut(&'t T)) {
        self.ends.iter().chain(&self.rests).for_each(&mut *found);
        for node in self.literals.iter().chain(&self.capture) {
            node.for_each(found);
        }
    }
}

impl<T: Routed> Templates<T> {
    /// Offers what matches `rest`, the path from after a slash on; `None` where the path is at its
    /// end. Literal before capture before rest, so in order. No node is visited twice, and none
    /// deeper than the templates are long.
    pub(super) fn search<'t>(
        &'t self,
        rest: Option<&str>,
        hasher: &RandomState,
        top: i32,
        search: &mut Search<'_, 't, T>,
    ) {
        let Some(rest) = rest else {
            search.offer(&self.ends, |_| true);
            return;
        };
        let (segment, tail) = match memchr::memchr(b'/', rest.as_bytes()) {
            Some(slash) => (rest.get(..slash).unwrap_or(rest), rest.get(slash + 1..)),
            None => (rest, None),
        };
        if !self.literals.is_empty()
            && let Some(node) = self.literal(hasher, segment)
        {
            node.search(tail, hasher, top, search);
        }
        if let Some(node) = &self.capture
            && !segment.is_empty()
            && !search.is_settled(top)
        {
            node.search(tail, hasher, top, search);
        }
        if !rest.is_empty() && !search.is_settled(top) {
            search.offer(&self.rests, |_| true);
        }
    }

    /// The routes of one template, whatever its captures are called.
    pub(super) fn get(&self, segments: &[Segment], hasher: &RandomState) -> &[T] {
        match segments {
            [] => &self.ends,
            [Segment::Rest(_), ..] => &self.rests,
            [Segment::Literal(segment), tail @ ..] => self
                .literal(hasher, segment)
                .map_or(&[], |node| node.get(tail, hasher)),
            [Segment::Capture(_), tail @ ..] => self
                .capture
                .as_ref()
                .map_or(&[], |node| node.get(tail, hasher)),
        }
    }
}

impl<T: Routed + Clone> Templates<T> {
    pub(super) fn insert(&mut self, segments: &[Segment], hasher: &RandomState, route: T) {
        match segments {
            [] => conditions::insert(&mut self.ends, route),
            [Segment::Rest(_), ..] => conditions::insert(&mut self.rests, route),
            [Segment::Literal(segment), tail @ ..] => {
                let hash = hasher.hash_one(segment);
                let is = |node: &Arc<Self>| node.segment == *segment;
                if let Some(node) = self.literals.get_mut(hash, is) {
                    Arc::make_mut(node).insert(tail, hasher, route);
                } else {
                    let mut node = Self::below(segment);
                    node.insert(tail, hasher, route);
                    self.literals.insert(hash, Arc::new(node), |_| true);
                }
            }
            [Segment::Capture(_), tail @ ..] => {
                Arc::make_mut(self.capture.get_or_insert_default()).insert(tail, hasher, route);
            }
        }
    }

    /// Takes `route` out, and the nodes that nothing is left under.
    pub(super) fn remove(
        &mut self,
        segments: &[Segment],
        hasher: &RandomState,
        route: &Route,
    ) -> Option<T> {
        match segments {
            [] => conditions::remove(&mut self.ends, route),
            [Segment::Rest(_), ..] => conditions::remove(&mut self.rests, route),
            [Segment::Literal(segment), tail @ ..] => {
                let hash = hasher.hash_one(segment);
                let is = |node: &Arc<Self>| node.segment == *segment;
                let node = Arc::make_mut(self.literals.get_mut(hash, is)?);
                let removed = node.remove(tail, hasher, route);
                if node.is_empty() {
                    self.literals.remove(hash, is);
                }
                removed
            }
            [Segment::Capture(_), tail @ ..] => {
                let node = Arc::make_mut(self.capture.as_mut()?);
                let removed = node.remove(tail, hasher, route);
                if node.is_empty() {
                    self.capture = None;
                }
                removed
            }
        }
    }
}
