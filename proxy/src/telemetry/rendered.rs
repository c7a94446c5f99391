//! Metrics as they are read: Prometheus' text form.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, time::Duration};

use super::StatusClasses;

/// Metrics in Prometheus' text form: the samples of a name stand together, under its type.
#[derive(Debug, Default)]
pub struct Rendered(BTreeMap<Cow<'static, str>, Family>);

/// What stands together under one name.
#[derive(Debug)]
struct Family {
    kind: &'static str,
    help: &'static str,
    samples: String,
}

impl Rendered {
    /// Says what a metric tells. Without samples it is left out.
    pub fn describe(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        kind: &'static str,
        help: &'static str,
    ) {
        let family = self.family(name.into(), kind);
        family.help = help;
    }

    /// One sample of a counter.
    pub fn counter(&mut self, name: &'static str, labels: &str, value: u64) {
        self.sample(name, "counter", labels, value);
    }

    /// One sample of a gauge.
    pub fn gauge(&mut self, name: &'static str, labels: &str, value: u64) {
        self.sample(name, "gauge", labels, value);
    }

    /// One sample of a counter or a gauge that can be any number.
    pub fn number(&mut self, name: &str, kind: &'static str, labels: &str, value: f64) {
        let family = self.family(name.to_owned().into(), kind);
        // Writing to a string cannot fail.
        let _ = writeln!(family.samples, "{name}{{{labels}}} {value}");
    }

    pub(super) fn classes<'a>(
        &mut self,
        name: &'static str,
        labels: &str,
        shards: impl Iterator<Item = &'a StatusClasses> + Clone,
    ) {
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
            let sum = shards
                .clone()
                .flat_map(StatusClasses::get)
                .filter(|(name, _)| *name == class)
                .map(|(_, n)| n)
                .sum();
            self.counter(name, &format!("{labels},class=\"{class}\""), sum);
        }
    }

    /// A histogram of times: of each bound how many are within it, how many there are and their sum.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        labels: &str,
        buckets: &[(&str, u64)],
        sum: Duration,
        count: u64,
    ) {
        self.distribution(name.into(), labels, buckets, sum.as_secs_f64(), count);
    }

    /// A histogram of any numbers.
    pub fn distribution<L: AsRef<str>>(
        &mut self,
        name: Cow<'static, str>,
        labels: &str,
        buckets: &[(L, u64)],
        sum: f64,
        count: u64,
    ) {
        let samples = &mut self.family(name.clone(), "histogram").samples;
        let bounds = buckets.iter().map(|(le, within)| (le.as_ref(), *within));
        // Writing to a string cannot fail.
        for (le, within) in bounds.chain([("+Inf", count)]) {
            let _ = writeln!(samples, "{name}_bucket{{{labels},le=\"{le}\"}} {within}");
        }
        let _ = writeln!(samples, "{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(samples, "{name}_count{{{labels}}} {count}");
    }

    fn sample(&mut self, name: &'static str, kind: &'static str, labels: &str, value: u64) {
        let samples = &mut self.family(name.into(), kind).samples;
        // Writing to a string cannot fail.
        let _ = if labels.is_empty() {
            writeln!(samples, "{name} {value}")
        } else {
            writeln!(samples, "{name}{{{labels}}} {value}")
        };
    }

    fn family(&mut self, name: Cow<'static, str>, kind: &'static str) -> &mut Family {
        self.0.entry(name).or_insert_with(|| Family {
            kind,
            help: "",
            samples: String::new(),
        })
    }

    /// The text, `text/plain; version=0.0.4`.
    #[must_use]
    pub fn into_text(self) -> String {
        let mut text = String::new();
        for (name, family) in self.0 {
            let Family {
                kind,
                help,
                samples,
            } = family;
            if samples.is_empty() {
                continue;
            }
            if !help.is_empty() {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            let _ = writeln!(text, "# TYPE {name} {kind}");
            text.push_str(&samples);
        }
        text
    }
}

/// A value of a label as it stands between quotes.
#[must_use]
pub fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    let value = value.replace('\\', r"\\").replace('"', "\\\"");
    Cow::Owned(value.replace('\n', r"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_described_once_and_labels_are_escaped() {
        let mut out = Rendered::default();
        out.describe("b", "gauge", "Nothing.");
        out.describe("a", "counter", "How many.");
        let label = format!("x=\"{}\"", escaped("1\\2\"3\n4"));
        out.counter("a", &label, 1);
        out.counter("a", "x=\"5\"", 2);
        assert_eq!(
            out.into_text(),
            "# HELP a How many.\n# TYPE a counter\na{x=\"1\\\\2\\\"3\\n4\"} 1\na{x=\"5\"} 2\n"
        );
    }
}
