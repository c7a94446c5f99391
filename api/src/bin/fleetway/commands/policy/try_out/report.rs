//! What a policy did, for people and for programs.

use std::time::Duration;

use fleetway_policy_runtime::{Answer, Hint, Retries, Series, SeriesKind, Shared};
use serde_json::{Map, Value, json};

use super::{
    message,
    passed::{Passed, Went},
};
use crate::{
    diff,
    output::{Colour, Output},
};

/// Prints what the stages of the policy came to.
pub(super) fn print(
    name: &str,
    stages: &[Passed],
    shared: &Shared,
    output: &mut Output,
) -> anyhow::Result<()> {
    let (series, left_out) = shared.figures();
    if !output.is_table() {
        return output.body(&json!({
            "policy": name,
            "stages": stages.iter().map(stage_json).collect::<Vec<_>>(),
            "metrics": series.iter().map(series_json).collect::<Vec<_>>(),
            "metrics_left_out": left_out,
        }));
    }
    for passed in stages {
        stage(passed, output)?;
    }
    if !series.is_empty() || left_out > 0 {
        output.line(&output.paint(Colour::Heading, "metrics"))?;
    }
    for of in &series {
        let labels: Vec<String> = of
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let kind = kind(of.kind);
        let value = match of.buckets.last() {
            Some((_, count)) => format!("{count} values, {} in all", of.value),
            None => of.value.to_string(),
        };
        output.line(&format!("    {kind:9}  {}{labels}  {value}", of.name))?;
    }
    if left_out > 0 {
        output.line(&format!(
            "    {left_out} values were left out: a name, a label or their number is out of bounds"
        ))?;
    }
    Ok(())
}

fn stage(passed: &Passed, output: &mut Output) -> anyhow::Result<()> {
    let (word, colour) = match &passed.went {
        Went::Continue => ("continue".to_owned(), Colour::Good),
        Went::Reroute(hint) => (format!("reroute {}", hint_text(hint)), Colour::Change),
        Went::Respond(answer) => (format!("respond {}", answer.status), Colour::Change),
        Went::Failed(failure) => (
            format!("failed ({}): {failure}", failure.cause()),
            Colour::Bad,
        ),
        Went::Skipped => ("not run, the request is answered".to_owned(), Colour::Place),
    };
    let stage = output.paint(Colour::Heading, passed.stage.as_str());
    let word = output.paint(colour, &plain(&word));
    output.line(&format!("{stage}: {word}"))?;
    if matches!(passed.went, Went::Skipped) {
        return Ok(());
    }
    output.changes(&diff::of_texts(&passed.before, &passed.after))?;
    if let Went::Respond(answer) = &passed.went {
        let answer = message::of_answer(answer);
        for line in message::response_text(&answer.head, &answer.body).lines() {
            output.line(&format!("    {}", plain(line)))?;
        }
    }
    let mut row =
        |name: &str, value: &str| output.line(&format!("    {name:10}  {}", plain(value)));
    if let Some(authority) = &passed.authority {
        row("authority", &format!("{authority}, for the upstream"))?;
    }
    if let Some(timeout) = passed.timeout {
        row("timeout", &format!("{timeout:?}, for the exchange"))?;
    }
    if let Some(retries) = passed.retries {
        let reasons = reasons(retries).join(", ");
        row("retries", &format!("{}, for {reasons}", retries.count))?;
    }
    for line in &passed.log {
        row("log", &format!("{:5} {}", line.level, line.message))?;
    }
    for (key, value) in &passed.notes {
        match value {
            Some(value) => row(
                "metadata",
                &format!("{key} = {}", String::from_utf8_lossy(value)),
            )?,
            None => row("metadata", &format!("{key} is taken away"))?,
        }
    }
    for annotation in &passed.annotations {
        row(
            "access log",
            &format!("{} = {}", annotation.key, annotation.value),
        )?;
    }
    if let Some(remark) = passed.remark {
        row("note", remark)?;
    }
    let mut times = format!(
        "{} to start, {} to run",
        time(passed.start),
        time(passed.run)
    );
    if let Some(body) = passed.body {
        times.push_str(&format!(", {} for the body", time(body)));
    }
    row("time", &times)?;
    match passed.memory {
        Some(memory) => row("memory", &format!("{} KiB", memory.div_ceil(1024))),
        None => Ok(()),
    }
}

/// What a request is sent again for, as the ABI has it.
fn reasons(retries: Retries) -> Vec<&'static str> {
    let all = [
        (retries.connect_failure, "connect-failure"),
        (retries.reset, "reset"),
        (retries.gateway_error, "gateway-error"),
    ];
    let of = all.into_iter();
    of.filter_map(|(is, reason)| is.then_some(reason)).collect()
}

fn stage_json(passed: &Passed) -> Value {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut fields = Map::new();
    fields.insert("stage".into(), passed.stage.as_str().into());
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    put("decision", decision(&passed.went).into());
    match &passed.went {
        Went::Skipped => return Value::Object(fields),
        Went::Continue => {}
        Went::Reroute(hint) => put("hint", hint_json(hint)),
        Went::Respond(answer) => put("answer", answer_json(answer)),
        Went::Failed(failure) => put(
            "failure",
            json!({"cause": failure.cause(), "message": failure.to_string()}),
        ),
    }
    put(
        "changes",
        diff::of_texts(&passed.before, &passed.after).into(),
    );
    put("message", passed.message.clone());
    if let Some(authority) = &passed.authority {
        put("upstream_authority", authority.as_str().into());
    }
    if let Some(timeout) = passed.timeout {
        put("upstream_timeout_us", micros(timeout).into());
    }
    if let Some(retries) = passed.retries {
        let retries = json!({"count": retries.count, "on": reasons(retries)});
        put("upstream_retries", retries);
    }
    put("log", json!(passed.log));
    let note = |(key, value): &(String, Option<Vec<u8>>)| {
        let value = value.as_deref().map(message::text_or_base64);
        json!({"key": key, "value": value})
    };
    put("metadata", passed.notes.iter().map(note).collect());
    let annotations = passed.annotations.iter();
    put(
        "access_log",
        annotations
            .map(|of| json!({"key": of.key, "value": of.value}))
            .collect(),
    );
    if let Some(remark) = passed.remark {
        put("note", remark.into());
    }
    put("start_us", micros(passed.start).into());
    put("run_us", micros(passed.run).into());
    if let Some(body) = passed.body {
        put("body_us", micros(body).into());
    }
    put("memory", passed.memory.into());
    Value::Object(fields)
}

const fn decision(went: &Went) -> &'static str {
    match went {
        Went::Continue => "continue",
        Went::Reroute(_) => "reroute",
        Went::Respond(_) => "respond",
        Went::Failed(_) => "failed",
        Went::Skipped => "not_run",
    }
}

fn hint_text(hint: &Hint) -> String {
    let route = hint.route.as_ref().map(|name| format!("to route {name}"));
    let cluster = hint.cluster.as_ref();
    let cluster = cluster.map(|name| format!("to cluster {name}"));
    let tags = hint
        .tags
        .iter()
        .map(|(name, value)| format!("with {name}={value}"));
    let all: Vec<String> = route.into_iter().chain(cluster).chain(tags).collect();
    all.join(", ")
}

fn hint_json(hint: &Hint) -> Value {
    let tag = |(name, value): &(Box<str>, Box<str>)| (name.to_string(), Value::from(&**value));
    let tags: Map<String, Value> = hint.tags.iter().map(tag).collect();
    json!({"route": hint.route, "cluster": hint.cluster, "tags": tags})
}

fn answer_json(answer: &Answer) -> Value {
    let answer = message::of_answer(answer);
    message::response_json(&answer.head, &answer.body)
}

fn series_json(series: &Series) -> Value {
    let label = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    let labels: Map<String, Value> = series.labels.iter().map(label).collect();
    let mut all = json!({
        "name": series.name,
        "kind": kind(series.kind),
        "labels": labels,
        "value": series.value,
    });
    if let (Some((_, count)), Some(fields)) = (series.buckets.last(), all.as_object_mut()) {
        fields.insert("count".to_owned(), (*count).into());
    }
    all
}

const fn kind(kind: SeriesKind) -> &'static str {
    match kind {
        SeriesKind::Counter => "counter",
        SeriesKind::Gauge => "gauge",
        SeriesKind::Histogram => "histogram",
    }
}

fn time(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// On one line, and without what would steer the terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}
