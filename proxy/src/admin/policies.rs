//! What the policies of a proxy do, as its admin page and its metrics show it.

use std::{
    collections::{BTreeMap, HashSet},
    time::UNIX_EPOCH,
};

use fleetway_policy_runtime::{Failing, Series, SeriesKind, Shared, Stage};
use serde_json::{Map, Value, json};

use super::time;
use crate::telemetry::{Rendered, escaped};

/// What the names of the policies' own figures begin with.
const OWN: &str = "fleetway_policy_custom_";
const CALLS: &str = "fleetway_policy_calls_total";
const DURATION: &str = "fleetway_policy_duration_seconds";
const FAILURES: &str = "fleetway_policy_failures_total";
const IN_A_ROW: &str = "fleetway_policy_failures_in_a_row";
const ANSWERS: &str = "fleetway_policy_answers_total";
const DROPPED: &str = "fleetway_policy_series_dropped_total";

/// Each policy with its calls, and how it fails if it keeps failing.
pub(super) fn describe<'s>(policies: impl Iterator<Item = &'s Shared>) -> Value {
    policies.map(of_one).collect()
}

fn of_one(shared: &Shared) -> Value {
    let counts = &shared.counts;
    let calls = Stage::ALL.map(|stage| (stage.to_string(), json!(counts.calls(stage))));
    let failures = counts.failures().filter(|(_, count)| *count > 0);
    let failures: Map<_, _> = failures
        .map(|(cause, count)| (cause.to_owned(), json!(count)))
        .collect();
    let mut one = json!({
        "policy": shared.policy(),
        "calls": Map::from_iter(calls),
        "answers": counts.answers(),
        "failures": failures,
        "failures_in_a_row": counts.in_a_row(),
    });
    if let (Some(failing), Value::Object(fields)) = (counts.failing(), &mut one) {
        fields.insert("keeps_failing".into(), how(&failing));
    }
    one
}

fn how(failing: &Failing) -> Value {
    let since = failing.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "since": time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        "cause": failing.last.cause(),
        "message": failing.last.to_string(),
    })
}

/// Writes what is counted of policies, and what they count themselves.
pub(super) fn render<'s>(policies: impl Iterator<Item = &'s Shared>, out: &mut Rendered) {
    for (name, kind, help) in [
        (
            CALLS,
            "counter",
            "Calls of a policy, those that failed among them.",
        ),
        (
            DURATION,
            "histogram",
            "How long calls took, with making the instance.",
        ),
        (FAILURES, "counter", "Failures of a policy."),
        (
            IN_A_ROW,
            "gauge",
            "Failures of a policy since it last succeeded.",
        ),
        (
            ANSWERS,
            "counter",
            "Requests and responses a policy answered itself.",
        ),
        (
            DROPPED,
            "counter",
            "Values of a policy's own metrics that were left out.",
        ),
    ] {
        out.describe(name, kind, help);
    }
    let mut own = Families::default();
    for shared in policies {
        let policy = format!("policy=\"{}\"", escaped(shared.policy()));
        let counts = &shared.counts;
        for stage in Stage::ALL {
            let durations = counts.durations(stage);
            if durations.count == 0 {
                continue;
            }
            let labels = format!("{policy},stage=\"{stage}\"");
            out.counter(CALLS, &labels, durations.count);
            let buckets = durations.buckets.iter();
            let buckets: Vec<_> = buckets
                .map(|(bound, within)| (bound.as_secs_f64().to_string(), *within))
                .collect();
            let sum = durations.sum.as_secs_f64();
            out.distribution(DURATION.into(), &labels, &buckets, sum, durations.count);
        }
        for (cause, count) in counts.failures() {
            out.counter(FAILURES, &format!("{policy},cause=\"{cause}\""), count);
        }
        out.gauge(IN_A_ROW, &policy, counts.in_a_row());
        out.counter(ANSWERS, &policy, counts.answers());
        let (series, dropped) = shared.figures();
        out.counter(DROPPED, &policy, dropped);
        for one in series {
            own.add(&policy, one);
        }
    }
    own.render(out);
}

/// The policies' own figures, by their names.
#[derive(Default)]
struct Families(BTreeMap<String, Own>);

impl Families {
    fn add(&mut self, policy: &str, series: Series) {
        // The first policy that has a name says what it is for all.
        let family = self.0.entry(series.name.clone()).or_insert_with(|| Own {
            kind: series.kind,
            of: Vec::new(),
        });
        if family.kind == series.kind {
            family.of.push((policy.to_owned(), series));
        }
    }

    fn render(&self, out: &mut Rendered) {
        let histograms = self.0.iter();
        let histograms = histograms.filter(|(_, family)| family.kind == SeriesKind::Histogram);
        let parts: HashSet<String> = histograms
            .flat_map(|(name, _)| ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")))
            .collect();
        // What has the name of a part of a histogram would be taken for that.
        let whole = self.0.iter().filter(|(name, _)| !parts.contains(*name));
        for (policy, series) in whole.flat_map(|(_, family)| &family.of) {
            render_own(policy, series, out);
        }
    }
}

/// A name of the policies' own.
struct Own {
    kind: SeriesKind,
    /// The label of each policy, with its series.
    of: Vec<(String, Series)>,
}

fn render_own(policy: &str, series: &Series, out: &mut Rendered) {
    let name = format!("{OWN}{}", series.name);
    let mut labels = policy.to_owned();
    for (label, value) in &series.labels {
        labels.push_str(&format!(",{label}=\"{}\"", escaped(value)));
    }
    match series.kind {
        SeriesKind::Counter => out.number(&name, "counter", &labels, series.value),
        SeriesKind::Gauge => out.number(&name, "gauge", &labels, series.value),
        SeriesKind::Histogram => {
            let finite = series.buckets.iter().filter(|(bound, _)| bound.is_finite());
            let buckets: Vec<_> = finite
                .map(|(bound, within)| (bound.to_string(), *within))
                .collect();
            let count = series.buckets.last().map_or(0, |(_, count)| *count);
            out.distribution(name.into(), &labels, &buckets, series.value, count);
        }
    }
}

#[cfg(test)]
mod tests;
