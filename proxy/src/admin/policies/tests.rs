//! What is shown of policies.

use std::time::Duration;

use fleetway_policy_runtime::Failure;

use super::*;

fn rendered(policies: &[Shared]) -> String {
    let mut out = Rendered::default();
    render(policies.iter(), &mut out);
    out.into_text()
}

#[test]
fn calls_and_failures_are_written_under_one_type_each() {
    let (one, two) = (Shared::new("one"), Shared::new("two"));
    let counts = &one.counts;
    counts.called(Stage::PreRoute, true, Duration::from_micros(20));
    counts.failed(
        Stage::PreRoute,
        &Failure::Timeout,
        Duration::from_millis(50),
    );
    two.counts
        .called(Stage::PostResponse, false, Duration::from_micros(1));
    let text = rendered(&[one, two]);
    for line in [
        "# HELP fleetway_policy_calls_total Calls of a policy, those that failed among them.",
        "# TYPE fleetway_policy_calls_total counter",
        r#"fleetway_policy_calls_total{policy="one",stage="pre-route"} 2"#,
        r#"fleetway_policy_calls_total{policy="two",stage="post-response"} 1"#,
        "# TYPE fleetway_policy_duration_seconds histogram",
        r#"fleetway_policy_duration_seconds_bucket{policy="one",stage="pre-route",le="0.00001"} 0"#,
        r#"fleetway_policy_duration_seconds_bucket{policy="one",stage="pre-route",le="0.000025"} 1"#,
        r#"fleetway_policy_duration_seconds_bucket{policy="one",stage="pre-route",le="+Inf"} 2"#,
        r#"fleetway_policy_duration_seconds_sum{policy="one",stage="pre-route"} 0.05002"#,
        r#"fleetway_policy_duration_seconds_count{policy="one",stage="pre-route"} 2"#,
        r#"fleetway_policy_failures_total{policy="one",cause="timeout"} 1"#,
        r#"fleetway_policy_failures_total{policy="one",cause="trap"} 0"#,
        r#"fleetway_policy_failures_in_a_row{policy="one"} 1"#,
        r#"fleetway_policy_answers_total{policy="one"} 1"#,
        r#"fleetway_policy_series_dropped_total{policy="two"} 0"#,
    ] {
        let times = text.lines().filter(|other| *other == line).count();
        assert_eq!(times, 1, "{line}\n{text}");
    }
    assert_eq!(rendered(&[]), "");
}

#[test]
fn a_policy_that_keeps_failing_shows() {
    let shared = Shared::new("one");
    let all = |shared: &Shared| describe(std::iter::once(shared));
    assert_eq!(
        all(&shared)[0]["calls"],
        json!({"pre-route": 0, "pre-upstream": 0, "post-response": 0})
    );
    for _ in 0..5 {
        assert!(all(&shared)[0].get("keeps_failing").is_none());
        shared.counts.broke(&Failure::Fuel);
    }
    let shown = &all(&shared)[0];
    assert_eq!(shown["failures"], json!({"fuel": 5}));
    assert_eq!(shown["keeps_failing"]["cause"], "fuel");
    assert!(shown["keeps_failing"]["since"].is_string());
    shared.counts.succeeded();
    assert!(all(&shared)[0].get("keeps_failing").is_none());
}

fn series(kind: SeriesKind, name: &str, value: f64) -> Series {
    Series {
        name: name.to_owned(),
        labels: vec![("path".to_owned(), "a\"b".to_owned())],
        kind,
        value,
        buckets: match kind {
            SeriesKind::Histogram => vec![(0.5, 1), (f64::INFINITY, 2)],
            _ => Vec::new(),
        },
    }
}

#[test]
fn what_policies_count_is_of_one_kind_for_each_name() {
    let mut own = Families::default();
    own.add("policy=\"one\"", series(SeriesKind::Counter, "seen", 1.5));
    own.add("policy=\"one\"", series(SeriesKind::Histogram, "took", 2.0));
    own.add("policy=\"two\"", series(SeriesKind::Gauge, "seen", 7.0));
    own.add(
        "policy=\"two\"",
        series(SeriesKind::Gauge, "took_count", 7.0),
    );
    let mut out = Rendered::default();
    own.render(&mut out);
    let labels = r#"policy="one",path="a\"b""#;
    let lines = [
        "# TYPE fleetway_policy_custom_seen counter".to_owned(),
        format!("fleetway_policy_custom_seen{{{labels}}} 1.5"),
        "# TYPE fleetway_policy_custom_took histogram".to_owned(),
        format!(r#"fleetway_policy_custom_took_bucket{{{labels},le="0.5"}} 1"#),
        format!(r#"fleetway_policy_custom_took_bucket{{{labels},le="+Inf"}} 2"#),
        format!("fleetway_policy_custom_took_sum{{{labels}}} 2"),
        format!("fleetway_policy_custom_took_count{{{labels}}} 2"),
    ];
    assert_eq!(out.into_text().lines().collect::<Vec<_>>(), lines);
}
