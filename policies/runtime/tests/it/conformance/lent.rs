//! What a proxy lends.

use std::time::{Duration, SystemTime};

use fleetway_policy_runtime::{Annotation, SeriesKind, Stage};
use serde_json::json;

use super::{
    Probe,
    stage::{Given, run},
};

pub async fn randomness_is_not_the_same_again(probe: &Probe) {
    let actions = json!([
        {"random": {"length": 16}},
        {"random": {"length": 16}},
        {"random": {"length": 0}},
    ]);
    let mut seen = Vec::new();
    // In another instance neither, though it may be a copy of the same state.
    for _ in 0..2 {
        let given = Given::any();
        let (report, _) = probe.reports(Stage::PreRoute, actions.clone(), given).await;
        let results = report["results"].as_array().unwrap().clone();
        assert_eq!(results[2], "");
        seen.extend(results.into_iter().take(2));
    }
    for (i, one) in seen.iter().enumerate() {
        assert_eq!(one.as_str().unwrap().len(), 32);
        assert!(!seen[..i].contains(one), "{seen:?}");
    }
    let actions = json!([{"random": {"length": 65_537}}]);
    let became = probe.does(Stage::PreRoute, actions, Given::any()).await;
    let failure = became.went.expect_err("it is ended");
    assert_eq!(failure.cause(), "misuse", "{failure}");
}

pub async fn clocks_tell_the_time(probe: &Probe) {
    let since = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap()
    };
    let actions = json!([{"clock": {}}, {"clock": {}}]);
    let before = since();
    let (report, _) = probe
        .reports(Stage::PreUpstream, actions, Given::any())
        .await;
    let after = since();
    let read = |at: usize, clock: &str| report["results"][at][clock].as_u64().unwrap();
    let now = Duration::from_nanos(read(0, "now"));
    assert!(before <= now && now <= after, "{before:?} {now:?}");
    assert!(read(0, "monotonic") <= read(1, "monotonic"), "{report}");
}

pub async fn figures_are_counted(probe: &Probe) {
    let labels = json!([["b", "1"], ["a", "2"]]);
    let config = json!({"pre_route": [
        {"increment": {"name": "seen_total", "labels": labels, "by": 2}},
        {"increment": {"name": "seen_total", "labels": labels, "by": 3}},
        {"gauge": {"name": "level", "value": 1.5}},
        {"gauge": {"name": "level", "value": -0.5}},
        {"observe": {"name": "took", "value": 0.25}},
        {"increment": {"name": "no name", "by": 1}},
        {"report": {"to": "answer"}},
    ]});
    let unit = probe.unit("probe", &config);
    let became = run(&unit, Stage::PreRoute, Given::any()).await;
    assert_eq!(became.report()["results"], json!(vec!["ok"; 6]));
    let (series, left_out) = unit.shared.figures();
    assert_eq!(left_out, 1);
    let said: Vec<_> = series
        .iter()
        .map(|series| (series.name.as_str(), series.kind, series.value))
        .collect();
    let expected = [
        ("level", SeriesKind::Gauge, -0.5),
        ("seen_total", SeriesKind::Counter, 5.0),
        ("took", SeriesKind::Histogram, 0.25),
    ];
    assert_eq!(said, expected);
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(series[1].labels, [label("a", "2"), label("b", "1")]);
}

pub async fn the_log_takes_each_level(probe: &Probe) {
    let line = |level: &str| json!({"log": {"level": level, "message": "a line"}});
    let actions = ["trace", "debug", "info", "warn", "error"].map(line);
    let (report, _) = probe
        .reports(Stage::PreRoute, json!(actions), Given::any())
        .await;
    assert_eq!(report["results"], json!(vec!["ok"; 5]));
}

pub async fn the_access_log_is_added_to(probe: &Probe) {
    let annotate = |key: &str, value: &str| json!({"annotate": {"key": key, "value": value}});
    let long = "a".repeat(129);
    let actions = json!([annotate("team", "a"), annotate(&long, "b")]);
    for stage in Stage::ALL {
        let (report, became) = probe.reports(stage, actions.clone(), Given::any()).await;
        assert_eq!(report["results"], json!([true, false]), "{stage}");
        let expected = Annotation {
            policy: "probe".into(),
            key: "team".into(),
            value: "a".into(),
        };
        assert_eq!(became.subject.notebook.annotations(), [expected], "{stage}");
    }
}
