//! A policy's own figures.

use std::collections::BTreeMap;

/// The most series of a policy.
const SERIES: usize = 100;
/// The longest name in bytes.
const NAME_MAX: usize = 64;
/// The longest value of a label in bytes.
const VALUE_MAX: usize = 128;
/// The most labels of a series.
const LABELS: usize = 8;
/// The upper bounds of histograms, in seconds.
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeriesKind {
    /// It only grows.
    Counter,
    /// It is set.
    Gauge,
    /// It counts values by their size.
    Histogram,
}

/// A figure of a policy's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name within the policy.
    pub name: String,
    /// Its labels, by name.
    pub labels: Vec<(String, String)>,
    /// What it is.
    pub kind: SeriesKind,
    /// The value, or the sum of a histogram.
    pub value: f64,
    /// Of a histogram: how many values were at most so large, and how many there were in all.
    pub buckets: Vec<(f64, u64)>,
}

/// The figures of a policy.
#[derive(Debug, Default)]
pub(super) struct Figures {
    all: BTreeMap<(String, Vec<(String, String)>), Kept>,
    left_out: u64,
}

#[derive(Debug)]
struct Kept {
    kind: SeriesKind,
    value: f64,
    /// One more than there are bounds: those above all.
    counts: Vec<u64>,
}

impl Figures {
    pub(super) fn put(
        &mut self,
        kind: SeriesKind,
        name: String,
        mut labels: Vec<(String, String)>,
        value: f64,
    ) {
        labels.sort_unstable();
        if !is_name(&name) || !are_labels(&labels) || !value.is_finite() {
            self.left_out += 1;
            return;
        }
        // All series of a name are of one kind.
        let first = self.all.range((name.clone(), Vec::new())..).next();
        let other = first.is_some_and(|((known, _), kept)| *known == name && kept.kind != kind);
        let key = (name, labels);
        if other || (self.all.len() >= SERIES && !self.all.contains_key(&key)) {
            self.left_out += 1;
            return;
        }
        let kept = self.all.entry(key).or_insert_with(|| Kept {
            kind,
            value: 0.0,
            counts: match kind {
                SeriesKind::Histogram => vec![0; BOUNDS.len() + 1],
                _ => Vec::new(),
            },
        });
        match kind {
            SeriesKind::Gauge => kept.value = value,
            SeriesKind::Counter => kept.value += value,
            SeriesKind::Histogram => {
                kept.value += value;
                let place = BOUNDS.partition_point(|bound| *bound < value);
                if let Some(count) = kept.counts.get_mut(place) {
                    *count += 1;
                }
            }
        }
    }

    pub(super) fn all(&self) -> (Vec<Series>, u64) {
        let series = self.all.iter().map(|((name, labels), kept)| {
            let mut sum = 0;
            let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets = bounds.zip(&kept.counts).map(|(bound, count)| {
                sum += count;
                (bound, sum)
            });
            Series {
                name: name.clone(),
                labels: labels.clone(),
                kind: kept.kind,
                value: kept.value,
                buckets: buckets.collect(),
            }
        });
        (series.collect(), self.left_out)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit())
}

/// `policy` and `le` are the proxy's.
fn are_labels(labels: &[(String, String)]) -> bool {
    let is_own = |(name, value): &(String, String)| {
        is_name(name) && !["policy", "le"].contains(&&**name) && value.len() <= VALUE_MAX
    };
    labels.len() <= LABELS
        && labels.iter().all(is_own)
        && labels.is_sorted_by(|(before, _), (after, _)| before != after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_bounded_and_of_one_kind() {
        let mut figures = Figures::default();
        let label = |value: &str| vec![("code".to_owned(), value.to_owned())];
        figures.put(SeriesKind::Counter, "seen_total".into(), label("a"), 2.0);
        figures.put(SeriesKind::Counter, "seen_total".into(), label("a"), 3.0);
        figures.put(SeriesKind::Gauge, "seen_total".into(), label("b"), 1.0);
        figures.put(SeriesKind::Gauge, "9".into(), Vec::new(), 1.0);
        figures.put(
            SeriesKind::Gauge,
            "of".into(),
            vec![("le".into(), "1".into())],
            1.0,
        );
        figures.put(SeriesKind::Histogram, "took".into(), Vec::new(), 0.003);
        figures.put(SeriesKind::Histogram, "took".into(), Vec::new(), 99.0);
        let (all, left_out) = figures.all();
        assert_eq!(left_out, 3);
        assert_eq!(all[0].value, 5.0);
        assert_eq!(all[1].buckets[3], (0.005, 1));
        assert_eq!(all[1].buckets.last(), Some(&(f64::INFINITY, 2)));
        for index in 0..1000 {
            figures.put(
                SeriesKind::Counter,
                format!("flood_{index}"),
                Vec::new(),
                1.0,
            );
        }
        let (all, left_out) = figures.all();
        assert_eq!((all.len(), left_out), (SERIES, 3 + 1000 - 98));
    }
}
