//! Text to values, strictly: a key given twice is a fault, not a silent choice.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, MessageFormatter as _};

use crate::error::shortened;

/// Reads one JSON document.
pub(super) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str::<Strict>(text)
        .map(|strict| strict.0)
        .map_err(|error| format!("not well-formed JSON: {error}"))
}

/// The most values that aliases may stand for in one text, those of aliases within aliases included.
const MAX_ALIASED: usize = 10_000;
/// The most values kept for aliases, counted once for each anchor they are within.
const MAX_ANCHORED: usize = 100_000;
/// The most bytes of scalars that aliases may add to those of the text.
const MAX_ALIASED_BYTES: usize = 4 << 20;

/// Reads a stream of YAML documents. What aliases stand for is bounded as it is followed, so that a
/// small text stays small.
pub(crate) fn yaml(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIASED,
        },
        budget: serde_saphyr::budget! {
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_documents: 1_000_000,
            // An escape of two bytes may stand for three.
            max_total_scalar_bytes: text.len().saturating_mul(2).saturating_add(MAX_ALIASED_BYTES),
            max_aliases: 1000,
            max_anchors: 1000,
            max_recorded_anchor_events: MAX_ANCHORED,
            max_recorded_anchor_bytes: MAX_ALIASED_BYTES,
        },
    };
    serde_saphyr::from_multiple_with_options::<Strict>(text, options)
        .map(|documents| documents.into_iter().map(|strict| strict.0).collect())
        .map_err(|error| {
            let message = reason(&error);
            match error.location() {
                Some(at) => format!(
                    "not well-formed YAML: line {}, column {}: {message}",
                    at.line(),
                    at.column()
                ),
                None => format!("not well-formed YAML: {message}"),
            }
        })
}

fn reason(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::{Error, budget::BudgetBreach};
    match error.without_snippet() {
        Error::AliasError { error, .. } => reason(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key \"{}\" is there twice", shortened(key))
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::Budget {
            breach:
                BudgetBreach::Aliases { .. }
                | BudgetBreach::Anchors { .. }
                | BudgetBreach::AliasAnchorRatio { .. }
                | BudgetBreach::RecordedAnchorEvents { .. }
                | BudgetBreach::RecordedAnchorBytes { .. }
                | BudgetBreach::ScalarBytes { .. },
            ..
        } => format!(
            "its aliases stand for too much, more than {MAX_ALIASED} values or {MAX_ALIASED_BYTES} bytes, or are more than 1000: write out what they stand for"
        ),
        error => serde_saphyr::UserMessageFormatter
            .format_message(error)
            .into_owned(),
    }
}

/// Writes one YAML document.
pub(super) fn to_yaml(document: &Value) -> String {
    // A value of plain maps, lists and scalars always has a YAML form.
    let mut text = serde_saphyr::to_string(document).unwrap_or_default();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = access.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let Strict(value) = access.next_value()?;
            if fields.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "the key \"{}\" is there twice",
                    shortened(&key)
                )));
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}
