//! What is written down of a request: notes of policies that go from policy to policy and stage to
//! stage, what is to stand in the access log, and the route it goes by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most notes of a request.
pub(crate) const NOTES: usize = 64;
/// The most bytes of them, keys and values.
pub(crate) const BYTES: usize = 64 * 1024;

/// The most a request's policies can annotate.
const ANNOTATIONS: usize = 16;

/// What the policies of one request write down. Cheap to clone: all clones are the same one, so that
/// what a policy writes while a body passes is seen by those that are called meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Notebook(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    /// Few: looked through one by one.
    notes: Vec<Note>,
    bytes: usize,
    annotations: Vec<Annotation>,
    route: Option<Arc<str>>,
}

/// A field of a request's line in the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Whose it is.
    pub policy: Arc<str>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

#[derive(Debug, Clone)]
struct Note {
    policy: Arc<str>,
    key: String,
    value: Vec<u8>,
}

impl Notebook {
    /// No two calls of a request run at the same moment but where a body passes: it is hardly ever
    /// waited for.
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The route the request goes by, for lines of logs; none before it has one.
    #[must_use]
    pub fn route(&self) -> Option<Arc<str>> {
        self.lock().route.clone()
    }

    /// It goes by this route.
    pub fn goes_by(&self, route: Arc<str>) {
        self.lock().route = Some(route);
    }

    /// What a policy has noted.
    #[must_use]
    pub fn get(&self, policy: &str, key: &str) -> Option<Vec<u8>> {
        let written = self.lock();
        let place = written.find(policy, key)?;
        written.notes.get(place).map(|note| note.value.clone())
    }

    /// All notes, in the order they were made: policy, key and value.
    #[must_use]
    pub fn notes(&self) -> Vec<(String, String, Vec<u8>)> {
        let named = |note: &Note| {
            let Note { policy, key, value } = note;
            (policy.as_ref().to_owned(), key.clone(), value.clone())
        };
        self.lock().notes.iter().map(named).collect()
    }

    /// What is to stand in the access log.
    #[must_use]
    pub fn annotations(&self) -> Vec<Annotation> {
        self.lock().annotations.clone()
    }

    /// Whether there was room for it.
    pub(crate) fn set(&self, policy: &Arc<str>, key: String, value: Vec<u8>) -> bool {
        self.lock().set(policy, key, value)
    }

    /// Whether it was there.
    pub(crate) fn delete(&self, policy: &str, key: &str) -> bool {
        let mut written = self.lock();
        let Some(place) = written.find(policy, key) else {
            return false;
        };
        let note = written.notes.remove(place);
        written.bytes -= note.size();
        true
    }

    /// Whether there was room for it.
    pub(crate) fn annotate(&self, policy: &Arc<str>, key: String, value: String) -> bool {
        let all = &mut self.lock().annotations;
        let known = all
            .iter_mut()
            .find(|known| known.policy == *policy && known.key == key);
        if let Some(known) = known {
            known.value = value;
            return true;
        }
        if all.len() >= ANNOTATIONS {
            return false;
        }
        all.push(Annotation {
            policy: policy.clone(),
            key,
            value,
        });
        true
    }
}

impl Written {
    fn set(&mut self, policy: &Arc<str>, key: String, value: Vec<u8>) -> bool {
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
        let notes = Notebook::default();
        assert!(notes.set(&a, "k".into(), b"1".to_vec()));
        assert!(notes.set(&b, "k".into(), b"2".to_vec()));
        let note = |policy: &str, value: &[u8]| (policy.to_owned(), "k".to_owned(), value.to_vec());
        assert_eq!(notes.notes(), [note("a", b"1"), note("b", b"2")]);
        assert_eq!(notes.get("a", "k"), Some(b"1".to_vec()));
        assert_eq!(notes.get("b", "k"), Some(b"2".to_vec()));
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
