//! What a proxy lends to policies.

pub(crate) mod config {
    pub(crate) fn policy() -> String {
        crate::native::POLICY.to_owned()
    }
}

pub(crate) mod http_client {
    use crate::http_client::{IncomingResponse, OutgoingRequest, SendError};
    use crate::native::host;

    pub(crate) fn send(request: &OutgoingRequest) -> Result<IncomingResponse, SendError> {
        // Out of the proxy while it answers: it can look at it too.
        let Some(mut upstream) = host(|host| host.upstream.take()) else {
            return Err(SendError::Forbidden);
        };
        let answer = upstream(request);
        host(|host| host.upstream = Some(upstream));
        answer
    }
}

pub(crate) mod clock {
    use crate::Datetime;
    use crate::native::host;

    pub(crate) fn now() -> Datetime {
        host(|host| Datetime {
            seconds: host.now.as_secs(),
            nanoseconds: host.now.subsec_nanos(),
        })
    }

    pub(crate) fn monotonic() -> u64 {
        host(|host| u64::try_from(host.monotonic.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Numbers that look random and are the same in each test.
pub(crate) mod random {
    use std::hash::{DefaultHasher, Hasher};

    use crate::native::host;

    pub(crate) fn number() -> u64 {
        host(|host| {
            host.random += 1;
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(host.random);
            hasher.finish()
        })
    }

    pub(crate) fn bytes(length: u32) -> Vec<u8> {
        assert!(
            length <= 64 << 10,
            "the proxy ends a call that asks for more than 64 KiB"
        );
        let numbers = std::iter::repeat_with(|| number().to_le_bytes());
        numbers.flatten().take(length as usize).collect()
    }
}

pub(crate) mod log {
    use crate::abi::imports::fleetway::policy::log::Level;
    use crate::native::host;

    pub(crate) fn write(level: Level, message: &str) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        host(|host| host.log.push((level, message.to_owned())));
    }

    pub(crate) fn annotate(key: &str, value: &str) -> bool {
        host(|host| {
            let room = host.annotations.len() < 16 && key.len() <= 128 && value.len() <= 1 << 10;
            if room {
                host.annotations.push((key.to_owned(), value.to_owned()));
            }
            room
        })
    }
}

pub(crate) mod metrics {
    use crate::native::{Series, host};

    fn series(name: &str, labels: &[(String, String)]) -> Series {
        (name.to_owned(), labels.to_vec())
    }

    pub(crate) fn increment(name: &str, labels: &[(String, String)], by: u64) {
        host(|host| *host.counters.entry(series(name, labels)).or_default() += by);
    }

    pub(crate) fn set(name: &str, labels: &[(String, String)], value: f64) {
        host(|host| host.gauges.insert(series(name, labels), value));
    }

    pub(crate) fn observe(name: &str, labels: &[(String, String)], value: f64) {
        host(|host| {
            host.observations
                .entry(series(name, labels))
                .or_default()
                .push(value)
        });
    }
}

pub(crate) mod metadata {
    use crate::native::{POLICY, host};

    pub(crate) fn get(policy: &str, key: &str) -> Option<Vec<u8>> {
        host(|host| {
            host.notes
                .get(&(policy.to_owned(), key.to_owned()))
                .cloned()
        })
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> bool {
        host(|host| {
            let at = (POLICY.to_owned(), key.to_owned());
            let others = || host.notes.iter().filter(|(there, _)| **there != at);
            let size: usize = others()
                .map(|((_, key), value)| key.len() + value.len())
                .sum();
            let room = others().count() < 64 && size + key.len() + value.len() <= 64 << 10;
            if room {
                host.notes.insert(at, value.to_owned());
            }
            room
        })
    }

    pub(crate) fn delete(key: &str) -> bool {
        host(|host| {
            host.notes
                .remove(&(POLICY.to_owned(), key.to_owned()))
                .is_some()
        })
    }
}

pub(crate) mod key_value {
    use std::time::Duration;

    use crate::abi::imports::fleetway::policy::key_value::{Entry, SetError};
    use crate::native::host;

    pub(crate) fn get(key: &str) -> Option<Entry> {
        host(|host| {
            let now = host.monotonic;
            host.values
                .retain(|_, (_, until)| until.is_none_or(|until| until > now));
            host.values.get(key).map(|(entry, _)| entry.clone())
        })
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, SetError> {
        if key.len() > 256 || value.len() > 64 << 10 {
            return Err(SetError::TooLarge);
        }
        Ok(host(|host| {
            host.versions += 1;
            let entry = Entry {
                value: value.to_owned(),
                version: host.versions,
            };
            let until = ttl.map(|ttl| host.monotonic + Duration::from_millis(ttl));
            host.values.insert(key.to_owned(), (entry, until));
            host.versions
        }))
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Option<u64>,
    ) -> Result<u64, SetError> {
        if get(key).map(|entry| entry.version) != expected {
            return Err(SetError::Changed);
        }
        set(key, value, ttl)
    }

    pub(crate) fn delete(key: &str) -> bool {
        get(key).is_some() && host(|host| host.values.remove(key).is_some())
    }
}
