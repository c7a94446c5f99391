//! A persistent multimap from hashes to values: a clone costs one pointer, a change copies the
//! path to one leaf.
//!
//! It stores no keys. A value knows its own key, and whoever looks compares it, so two keys with
//! one hash only cost a comparison.

use std::{mem, sync::Arc};

/// How many bits of a hash choose the child of a branch.
const BITS: u32 = 4;
/// How many children a branch has.
const FAN_OUT: usize = 1 << BITS;
/// The most values a leaf holds, unless they all have the same hash.
const LEAF: usize = 16;
/// A branch that holds no more than this becomes a leaf again.
const MERGE: usize = LEAF / 2;

/// The map. Values of one hash are in the order their owner put them.
#[derive(Clone)]
pub(super) struct HashTrie<T> {
    root: Node<T>,
}

#[derive(Clone)]
enum Node<T> {
    /// Ordered by hash.
    Leaf(Vec<(u64, T)>),
    Branch(Arc<[Self; FAN_OUT]>),
}

impl<T> Default for HashTrie<T> {
    fn default() -> Self {
        Self {
            root: Node::Leaf(Vec::new()),
        }
    }
}

impl<T> HashTrie<T> {
    pub(super) fn is_empty(&self) -> bool {
        // A branch is never empty: it becomes a leaf before.
        matches!(&self.root, Node::Leaf(items) if items.is_empty())
    }

    /// The values of `hash`, in order.
    pub(super) fn get(&self, hash: u64) -> impl Iterator<Item = &T> {
        let mut node = &self.root;
        let mut bits = hash;
        let items = loop {
            match node {
                Node::Leaf(items) => break items.as_slice(),
                Node::Branch(children) => node = child(children, bits),
            }
            bits >>= BITS;
        };
        let start = items.partition_point(|(other, _)| *other < hash);
        items
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(move |(other, _)| *other == hash)
            .map(|(_, value)| value)
    }

    /// All values, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut nodes = vec![&self.root];
        let mut items = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some((_, value)) = items.next() {
                    return Some(value);
                }
                match nodes.pop()? {
                    Node::Leaf(more) => items = more.iter(),
                    Node::Branch(children) => nodes.extend(children.iter()),
                }
            }
        })
    }
}

impl<T: Clone> HashTrie<T> {
    /// Puts `value` after the values of the same hash that are to come `before` it.
    pub(super) fn insert(&mut self, hash: u64, value: T, before: impl Fn(&T) -> bool) {
        let mut node = &mut self.root;
        let mut shift = 0;
        let items = loop {
            match node {
                Node::Branch(children) => {
                    node = child_mut(Arc::make_mut(children), hash >> shift);
                    shift += BITS;
                }
                Node::Leaf(items) => {
                    let full = items.len() >= LEAF && shift < u64::BITS;
                    // They are in order: the outer two tell whether all have this hash.
                    let mixed = [items.first(), items.last()]
                        .into_iter()
                        .flatten()
                        .any(|(other, _)| *other != hash);
                    if !(full && mixed) {
                        break items;
                    }
                    *node = split(mem::take(items), shift);
                }
            }
        };
        let at = items
            .partition_point(|(other, item)| *other < hash || (*other == hash && before(item)));
        if items.len() < LEAF {
            items.reserve_exact(1);
        }
        items.insert(at, (hash, value));
    }

    /// Takes out the first value of `hash` that `is` the one.
    pub(super) fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<T> {
        self.root.remove(hash, hash, &is)
    }

    /// The first value of `hash` that `is` the one, to change it in this map alone.
    pub(super) fn get_mut(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut node = &mut self.root;
        let mut bits = hash;
        let items = loop {
            match node {
                Node::Leaf(items) => break items,
                Node::Branch(children) => node = child_mut(Arc::make_mut(children), bits),
            }
            bits >>= BITS;
        };
        items
            .iter_mut()
            .find(|(other, value)| *other == hash && is(value))
            .map(|(_, value)| value)
    }
}

impl<T: Clone> Node<T> {
    fn remove(&mut self, hash: u64, bits: u64, is: &impl Fn(&T) -> bool) -> Option<T> {
        match self {
            Self::Leaf(items) => {
                let at = items
                    .iter()
                    .position(|(other, value)| *other == hash && is(value))?;
                let (_, value) = items.remove(at);
                items.shrink_to(LEAF.min(items.len()));
                Some(value)
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let removed = child_mut(children, bits).remove(hash, bits >> BITS, is)?;
                if let Some(items) = merged(children) {
                    *self = Self::Leaf(items);
                }
                Some(removed)
            }
        }
    }
}

/// Spreads the values of a leaf over the children of a new branch, in their order.
fn split<T>(items: Vec<(u64, T)>, shift: u32) -> Node<T> {
    let mut children: [Node<T>; FAN_OUT] = std::array::from_fn(|_| Node::Leaf(Vec::new()));
    for (hash, value) in items {
        if let Node::Leaf(leaf) = child_mut(&mut children, hash >> shift) {
            leaf.reserve_exact(1);
            leaf.push((hash, value));
        }
    }
    Node::Branch(Arc::new(children))
}

/// Takes out what the children hold, if it is little enough for one leaf.
fn merged<T>(children: &mut [Node<T>; FAN_OUT]) -> Option<Vec<(u64, T)>> {
    let mut total = 0;
    for node in children.iter() {
        match node {
            Node::Leaf(items) => total += items.len(),
            Node::Branch(_) => return None,
        }
        if total > MERGE {
            return None;
        }
    }
    let mut all = Vec::with_capacity(total);
    for node in children {
        if let Node::Leaf(items) = node {
            all.append(items);
        }
    }
    all.sort_by_key(|(hash, _)| *hash);
    Some(all)
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "masked to the length of the array"
)]
fn child<T>(children: &[Node<T>; FAN_OUT], bits: u64) -> &Node<T> {
    &children[bits as usize & (FAN_OUT - 1)]
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "masked to the length of the array"
)]
fn child_mut<T>(children: &mut [Node<T>; FAN_OUT], bits: u64) -> &mut Node<T> {
    &mut children[bits as usize & (FAN_OUT - 1)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(trie: &HashTrie<u32>, hash: u64) -> Vec<u32> {
        trie.get(hash).copied().collect()
    }

    #[test]
    fn values_of_one_hash_keep_the_order_they_are_given() {
        let mut trie = HashTrie::default();
        for value in (0..100).rev() {
            trie.insert(7, value, |other| *other < value);
        }
        trie.insert(8, 0, |_| true);
        assert!(values(&trie, 7).into_iter().eq(0..100));
        assert_eq!(values(&trie, 8), [0]);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_list_holds_and_old_versions_stay(
            steps in prop::collection::vec((any::<bool>(), 0..40_u64, 0..4_u32), 0..400),
        ) {
            // Hashes that differ in their low, their high or in few bits.
            let hashes: Vec<u64> = (0..40_u64).map(|i| match i % 3 {
                0 => i,
                1 => i << 58,
                _ => i.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            }).collect();
            let mut trie = HashTrie::default();
            let mut plain: Vec<(u64, u32)> = Vec::new();
            let mut old = Vec::new();
            for (add, hash, value) in steps {
                let hash = hashes[usize::try_from(hash).unwrap()];
                old.push((trie.clone(), plain.clone()));
                if add {
                    trie.insert(hash, value, |other| *other <= value);
                    plain.push((hash, value));
                    plain.sort_unstable();
                } else {
                    let removed = trie.remove(hash, |other| *other == value);
                    let at = plain.iter().position(|item| *item == (hash, value));
                    prop_assert_eq!(removed, at.map(|at| plain.remove(at).1));
                }
            }
            old.push((trie, plain));
            for (trie, plain) in old {
                for hash in &hashes {
                    let want: Vec<u32> =
                        plain.iter().filter(|item| item.0 == *hash).map(|item| item.1).collect();
                    prop_assert_eq!(values(&trie, *hash), want);
                }
                prop_assert_eq!(trie.iter().count(), plain.len());
                prop_assert_eq!(trie.is_empty(), plain.is_empty());
            }
        }
    }
}
