//! What a peer does again and again is logged now and then, not each time.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

/// How long the same is not said again.
const EVERY: Duration = Duration::from_secs(60);
/// Of how many peers and reasons it is known when they were told last. More are not told until
/// others are forgotten: a flood from many addresses does not fill the log.
const MOST: usize = 1024;

/// When each peer was told of for each reason.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    told: Mutex<HashMap<(Option<IpAddr>, String), Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How often it happened since.
    since: u64,
}

impl Repeats {
    /// Whether to tell now that this happened with a peer; how often it has happened untold.
    pub(super) fn tell(&self, peer: Option<IpAddr>, reason: &str, now: Instant) -> Option<u64> {
        // Whoever panicked with it left it whole.
        let mut told = self.told.lock().unwrap_or_else(|lock| lock.into_inner());
        let key = (peer, reason.to_owned());
        if let Some(last) = told.get_mut(&key) {
            if now.saturating_duration_since(last.at) < EVERY {
                last.since += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.since));
        }
        if told.len() >= MOST {
            told.retain(|_, last| now.saturating_duration_since(last.at) < EVERY);
        }
        if told.len() >= MOST {
            return None;
        }
        told.insert(key, Told { at: now, since: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Option<IpAddr> {
        Some([127, 0, 0, last].into())
    }

    #[test]
    fn the_same_is_told_once_in_a_while_with_how_often_it_happened() {
        let repeats = Repeats::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.tell(peer(1), "a", at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(repeats.tell(peer(1), "a", at(second)), None);
        }
        assert_eq!(repeats.tell(peer(1), "b", at(1)), Some(0), "another reason");
        assert_eq!(repeats.tell(peer(2), "a", at(1)), Some(0), "another peer");
        assert_eq!(repeats.tell(peer(1), "a", at(60)), Some(59));
        assert_eq!(repeats.tell(peer(1), "a", at(61)), None);
    }

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let repeats = Repeats::default();
        let start = Instant::now();
        let reasons: Vec<String> = (0..=MOST).map(|n| n.to_string()).collect();
        for reason in &reasons[..MOST] {
            assert_eq!(repeats.tell(None, reason, start), Some(0));
        }
        assert_eq!(repeats.tell(None, &reasons[MOST], start), None);
        let later = start + EVERY;
        assert_eq!(repeats.tell(None, &reasons[MOST], later), Some(0));
        assert_eq!(
            repeats.told.lock().unwrap().len(),
            1,
            "the rest is forgotten"
        );
    }
}
