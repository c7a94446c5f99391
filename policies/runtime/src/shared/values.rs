//! Values that last from call to call.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use crate::abi::host::key_value::{Entry, SetError};

/// The longest key in bytes.
const KEY_MAX: usize = 256;
/// The largest value in bytes.
const VALUE_MAX: usize = 64 * 1024;
/// The most values.
const VALUES: usize = 10_000;
/// The most bytes of keys and values.
const BYTES: usize = 4 * 1024 * 1024;

/// The values of one policy.
#[derive(Debug, Default)]
pub(crate) struct Values {
    all: HashMap<String, Kept>,
    /// Those that end, by when.
    ends: BTreeSet<(Instant, String)>,
    bytes: usize,
    version: u64,
}

#[derive(Debug)]
struct Kept {
    value: Vec<u8>,
    version: u64,
    end: Option<Instant>,
}

impl Values {
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Entry> {
        let kept = self.all.get(key)?;
        if kept.end.is_some_and(|end| end <= now) {
            return None;
        }
        Some(Entry {
            value: kept.value.clone(),
            version: kept.version,
        })
    }

    pub(crate) fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        end: Option<Instant>,
        now: Instant,
    ) -> Result<u64, SetError> {
        if key.len() > KEY_MAX || value.len() > VALUE_MAX {
            return Err(SetError::TooLarge);
        }
        self.expire(now);
        let before = self.all.get(&key);
        let freed = before.map_or(0, |kept| key.len() + kept.value.len());
        let bytes = self.bytes - freed + key.len() + value.len();
        if bytes > BYTES || (before.is_none() && self.all.len() >= VALUES) {
            return Err(SetError::TooLarge);
        }
        self.remove(&key);
        self.bytes = bytes;
        self.version += 1;
        let version = self.version;
        if let Some(end) = end {
            self.ends.insert((end, key.clone()));
        }
        let kept = Kept {
            value,
            version,
            end,
        };
        self.all.insert(key, kept);
        Ok(version)
    }

    /// Whether it was there.
    pub(crate) fn delete(&mut self, key: &str, now: Instant) -> bool {
        self.expire(now);
        self.remove(key)
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(kept) = self.all.remove(key) else {
            return false;
        };
        self.bytes -= key.len() + kept.value.len();
        if let Some(end) = kept.end {
            self.ends.remove(&(end, key.to_owned()));
        }
        true
    }

    /// Takes away those whose time is over.
    fn expire(&mut self, now: Instant) {
        while let Some((end, key)) = self.ends.first()
            && *end <= now
        {
            let key = key.clone();
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn values_end_with_their_time_and_versions_rise() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut values = Values::default();
        let first = values
            .set("a".into(), b"1".to_vec(), Some(later), now)
            .unwrap();
        assert_eq!(values.get("a", now).unwrap().value, b"1");
        assert!(values.get("a", later).is_none());
        let second = values.set("a".into(), b"2".to_vec(), None, later).unwrap();
        assert!(second > first);
        assert!(values.get("a", later + Duration::from_secs(99)).is_some());
        assert!(values.delete("a", later));
        assert!(!values.delete("a", later));
        assert_eq!((values.bytes, values.ends.len()), (0, 0));
    }

    #[test]
    fn a_flood_of_values_ends_at_the_bound_and_room_comes_back() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut values = Values::default();
        for index in 0..VALUES {
            assert!(
                values
                    .set(index.to_string(), Vec::new(), Some(later), now)
                    .is_ok()
            );
        }
        assert!(values.set("more".into(), Vec::new(), None, now).is_err());
        assert!(
            values
                .set("0".into(), b"x".to_vec(), Some(later), now)
                .is_ok()
        );
        assert!(values.set("more".into(), Vec::new(), None, later).is_ok());
        assert_eq!(values.all.len(), 1);
        let large = vec![0; VALUE_MAX];
        let taken = (0..100).filter(|index| {
            values
                .set(format!("large{index}"), large.clone(), None, later)
                .is_ok()
        });
        assert_eq!(taken.count(), 63);
    }
}
