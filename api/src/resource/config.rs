//! What policies are told to do: JSON objects, one laid over another.

use fleetway_proto::{Struct, Value, value::Kind};

use crate::error::Checker;

/// What a policy is told to do: a JSON object within bounds, whose numbers are finite.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyConfig(Struct);

// Numbers that are finite are equal to themselves.
impl Eq for PolicyConfig {}

/// The longest configuration as compact JSON, in bytes.
const MAX_BYTES: usize = 256 << 10;
/// How deep objects and lists may lie in one another.
const MAX_DEPTH: usize = 16;

impl PolicyConfig {
    pub(super) fn read(check: &mut Checker, field: &str, message: Struct) -> Self {
        if depth_of(message.fields.values()) > MAX_DEPTH {
            check.fault(
                field,
                format!("is more than {MAX_DEPTH} objects and lists deep: make it flatter"),
            );
            return Self::default();
        }
        match serde_json::to_string(&message) {
            Ok(text) if text.len() <= MAX_BYTES => return Self(message),
            Ok(text) => check.fault(
                field,
                format!(
                    "is {} bytes long as JSON, {MAX_BYTES} are the most",
                    text.len()
                ),
            ),
            Err(error) => check.fault(field, format!("cannot be JSON: {error}")),
        }
        Self::default()
    }

    /// It with `patch` laid over it (RFC 7396), as compact JSON with the names of each object in
    /// byte order: equal ones have equal texts.
    #[must_use]
    pub fn merged(&self, patch: Option<&Self>) -> String {
        let text = match patch {
            None => serde_json::to_string(&self.0),
            Some(Self(patch)) => {
                let mut target = self.0.clone();
                merge_object(&mut target, patch);
                serde_json::to_string(&target)
            }
        };
        // What was read has a JSON form.
        text.unwrap_or_default()
    }
}

/// Makes a merge patch (RFC 7396): objects field by field, `null` takes a field out, anything else is
/// put in place of what is there.
fn merge(target: &mut Value, patch: &Value) {
    let Some(Kind::Object(patch)) = &patch.kind else {
        target.clone_from(patch);
        return;
    };
    if !matches!(target.kind, Some(Kind::Object(_))) {
        *target = Kind::Object(Struct::default()).into();
    }
    if let Some(Kind::Object(target)) = &mut target.kind {
        merge_object(target, patch);
    }
}

fn merge_object(target: &mut Struct, patch: &Struct) {
    for (name, value) in &patch.fields {
        if matches!(value.kind, None | Some(Kind::Null(_))) {
            target.fields.remove(name);
        } else {
            merge(target.fields.entry(name.clone()).or_default(), value);
        }
    }
}

/// How deep the values lie, one without objects and lists being 1 deep.
fn depth_of<'v>(values: impl IntoIterator<Item = &'v Value>) -> usize {
    let deepest = values.into_iter().map(|value| match &value.kind {
        Some(Kind::Object(object)) => depth_of(object.fields.values()),
        Some(Kind::List(list)) => depth_of(&list.values),
        _ => 0,
    });
    1 + deepest.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn config(text: &str) -> PolicyConfig {
        PolicyConfig(serde_json::from_str(text).unwrap())
    }

    /// RFC 7396, appendix A.
    #[test]
    fn the_examples_of_the_specification_merge_as_it_says() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut merged = value(target);
            merge(&mut merged, &value(patch));
            let text = serde_json::to_string(&merged).unwrap();
            assert_eq!(text, result, "{target} + {patch}");
        }
    }

    #[test]
    fn what_is_merged_is_one_text_whatever_the_order() {
        let own = config(r#"{"z":1,"fields":["a"],"deep":{"b":true,"a":0.5}}"#);
        assert_eq!(
            own.merged(None),
            r#"{"deep":{"a":0.5,"b":true},"fields":["a"],"z":1}"#
        );
        let patch = config(r#"{"fields":["ssn"],"z":null,"deep":{"c":"x"}}"#);
        assert_eq!(
            own.merged(Some(&patch)),
            r#"{"deep":{"a":0.5,"b":true,"c":"x"},"fields":["ssn"]}"#
        );
        assert_eq!(PolicyConfig::default().merged(None), "{}");
    }

    #[test]
    fn a_configuration_is_bounded() {
        let read = |text: &str| {
            let mut check = Checker::new("policies/p".to_owned());
            PolicyConfig::read(&mut check, "config", serde_json::from_str(text).unwrap());
            check.finish()
        };
        let nested = |depth: usize| {
            format!("{}{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)).replacen(
                r#""a":}"#,
                r#""a":1}"#,
                1,
            )
        };
        assert_eq!(read(&nested(MAX_DEPTH)), []);
        let faults = read(&nested(MAX_DEPTH + 1));
        assert!(faults[0].to_string().contains("more than 16"), "{faults:?}");
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES));
        let faults = read(&long);
        assert!(faults[0].to_string().contains("262152 bytes"), "{faults:?}");
        let mut check = Checker::new("policies/p".to_owned());
        let mut odd = Struct::default();
        odd.fields.insert("n".into(), Kind::Number(f64::NAN).into());
        PolicyConfig::read(&mut check, "config", odd);
        assert!(!check.is_clean());
    }
}
