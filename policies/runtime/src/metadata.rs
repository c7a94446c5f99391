//! Notes that go with a request from policy to policy and stage to stage.

use std::sync::Arc;

/// The most notes of a request.
pub(crate) const NOTES: usize = 64;
/// The most bytes of them, keys and values.
pub(crate) const BYTES: usize = 64 * 1024;

/// The notes of one request.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Few: looked through one by one.
    notes: Vec<Note>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Note {
    policy: Arc<str>,
    key: String,
    value: Vec<u8>,
}

impl Metadata {
    /// What a policy has noted.
    #[must_use]
    pub fn get(&self, policy: &str, key: &str) -> Option<&[u8]> {
        let place = self.find(policy, key)?;
        self.notes.get(place).map(|note| &*note.value)
    }

    /// All notes, in the order they were made: policy, key and value.
    pub fn notes(&self) -> impl Iterator<Item = (&str, &str, &[u8])> {
        self.notes
            .iter()
            .map(|note| (&*note.policy, &*note.key, &*note.value))
    }

    /// Whether there was room for it.
    pub(crate) fn set(&mut self, policy: &Arc<str>, key: String, value: Vec<u8>) -> bool {
        let known = self.find(policy, &key);
        let before = known
            .and_then(|place| self.notes.get(place))
            .map_or(0, Note::size);
        let after = self.bytes - before + key.len() + value.len();
        if after > BYTES || (known.is_none() && self.notes.len() >= NOTES) {
            return false;
        }
        self.bytes = after;
        match known.and_then(|place| self.notes.get_mut(place)) {
            Some(note) => note.value = value,
            None => self.notes.push(Note {
                policy: policy.clone(),
                key,
                value,
            }),
        }
        true
    }

    /// Whether it was there.
    pub(crate) fn delete(&mut self, policy: &str, key: &str) -> bool {
        let Some(place) = self.find(policy, key) else {
            return false;
        };
        let note = self.notes.remove(place);
        self.bytes -= note.size();
        true
    }

    fn find(&self, policy: &str, key: &str) -> Option<usize> {
        self.notes
            .iter()
            .position(|note| &*note.policy == policy && note.key == key)
    }
}

impl Note {
    const fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_writes_its_own_notes_within_the_bound() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut notes = Metadata::default();
        assert!(notes.set(&a, "k".into(), b"1".to_vec()));
        assert!(notes.set(&b, "k".into(), b"2".to_vec()));
        let all: Vec<_> = notes.notes().collect();
        assert_eq!(all, [("a", "k", &b"1"[..]), ("b", "k", b"2")]);
        assert_eq!(notes.get("a", "k"), Some(&b"1"[..]));
        assert_eq!(notes.get("b", "k"), Some(&b"2"[..]));
        assert!(!notes.set(&a, "large".into(), vec![0; BYTES]));
        assert!(notes.set(&a, "k".into(), vec![0; BYTES - 3]));
        assert!(notes.delete("a", "k"));
        assert!(!notes.delete("a", "k"));
        for index in 0..NOTES - 1 {
            assert!(notes.set(&a, index.to_string(), Vec::new()));
        }
        assert!(!notes.set(&a, "one more".into(), Vec::new()));
        assert!(notes.set(&b, "k".into(), b"3".to_vec()));
    }
}
