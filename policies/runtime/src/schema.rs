//! What a component says its configuration looks like: a JSON Schema, held to bounds.
//!
//! A schema is data from outside that is run over configurations, in the management server too. So
//! nothing in it can take time without measure: it is within itself, not recursive, and small once
//! its references are followed; its patterns are matched in linear time.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::Fault;

/// The most bytes of a schema.
const BYTES: usize = 256 * 1024;
/// The most parts it may have with every reference followed.
const PARTS: u64 = 20_000;
/// How many references may lead from one to the next.
const CHAIN: usize = 32;
/// The most faults told of one configuration.
const FAULTS: usize = 20;
/// What leads elsewhere than a path within the schema would, and so could lead anywhere.
const REFUSED: [&str; 5] = [
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$anchor",
];

/// A schema, ready to be used.
pub(crate) struct Schema(Validator);

impl Schema {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, and the remedy.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.len() > BYTES {
            return Err(format!(
                "is {} bytes long, {BYTES} are the most",
                text.len()
            ));
        }
        let schema: Value =
            serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        let parts = Parts {
            root: &schema,
            of: HashMap::new(),
        }
        .count(&schema, true, &mut Vec::new())?;
        if parts > PARTS {
            return Err(format!(
                "has more than {PARTS} parts once its references are followed: make it simpler"
            ));
        }
        let patterns = PatternOptions::regex().size_limit(1 << 20);
        jsonschema::options()
            .with_pattern_options(patterns)
            .offline()
            .build(&schema)
            .map(Self)
            .map_err(|error| {
                let at = error.instance_path();
                format!("is no schema: {at}: {}", error.masked())
            })
    }

    /// What is wrong with a configuration.
    pub(crate) fn faults(&self, config: &str) -> Vec<Fault> {
        let config: Value = match serde_json::from_str(config) {
            Ok(config) => config,
            Err(error) => {
                return vec![Fault {
                    path: String::new(),
                    message: format!("is no JSON: {error}"),
                }];
            }
        };
        let errors = self.0.iter_errors(&config).take(FAULTS);
        errors
            .map(|error| Fault {
                path: error.instance_path().to_string(),
                message: error.masked_with("it").to_string(),
            })
            .collect()
    }
}

/// Counts the parts of a schema.
struct Parts<'s> {
    root: &'s Value,
    /// Those of what references lead to, once known.
    of: HashMap<&'s str, u64>,
}

impl<'s> Parts<'s> {
    /// The parts of a value in it, with what it refers to. `path` is how references led here.
    fn count(
        &mut self,
        value: &'s Value,
        is_root: bool,
        path: &mut Vec<&'s str>,
    ) -> Result<u64, String> {
        let mut parts = 1_u64;
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let more = match value {
                        Value::String(to) if name == "$ref" => self.refers(to, path)?,
                        // Further in, it would change where references lead.
                        Value::String(_) if name == "$id" && !is_root => {
                            return Err("has a `$id` within: leave it out".into());
                        }
                        Value::String(_) if REFUSED.contains(&name.as_str()) => {
                            return Err(format!(
                                "has `{name}`: refer to its parts with `$ref: \"#/…\"`"
                            ));
                        }
                        value => self.count(value, false, path)?,
                    };
                    parts = parts.saturating_add(more);
                }
            }
            Value::Array(items) => {
                for item in items {
                    parts = parts.saturating_add(self.count(item, false, path)?);
                }
            }
            _ => {}
        }
        Ok(parts)
    }

    fn refers(&mut self, to: &'s str, path: &mut Vec<&'s str>) -> Result<u64, String> {
        if let Some(parts) = self.of.get(to) {
            return Ok(*parts);
        }
        let pointer = to.strip_prefix('#');
        let pointer = pointer.filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let pointer = pointer.ok_or_else(|| {
            format!("refers to {to:?}: refer to its own parts only, as `\"#/$defs/name\"`")
        })?;
        if pointer.contains('%') {
            return Err(format!("refers to {to:?}: write it without `%`"));
        }
        let target = self.root.pointer(pointer);
        let target = target.ok_or_else(|| format!("refers to {to:?}, which is not there"))?;
        if path.contains(&to) || std::ptr::eq(target, self.root) {
            return Err(format!(
                "is recursive at {to:?}: describe what is deeper as any value"
            ));
        }
        if path.len() >= CHAIN {
            return Err(format!(
                "has more than {CHAIN} references in a row: make it simpler"
            ));
        }
        path.push(to);
        let parts = self.count(target, false, path)?;
        path.pop();
        self.of.insert(to, parts);
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value) -> Result<Schema, String> {
        Schema::read(&schema.to_string())
    }

    #[test]
    fn faults_are_told_where_they_are() {
        let schema = read(&json!({
            "$defs": {"field": {"type": "string", "pattern": "^[a-z]+$"}},
            "type": "object",
            "required": ["fields"],
            "properties": {
                "fields": {"type": "array", "items": {"$ref": "#/$defs/field"}},
                "a/b": {"type": "integer", "maximum": 9},
            },
            "additionalProperties": false,
        }))
        .unwrap();
        let faults = |config: Value| -> Vec<String> {
            let faults = schema.faults(&config.to_string());
            faults.iter().map(ToString::to_string).collect()
        };
        assert!(faults(json!({"fields": ["a"], "a/b": 3})).is_empty());
        assert_eq!(
            faults(json!({"fields": ["a", 1, "B"], "a/b": 10})),
            [
                r#"/fields/1: it is not of type "string""#,
                r#"/fields/2: it does not match "^[a-z]+$""#,
                "/a~1b: it is greater than the maximum of 9",
            ]
        );
        assert_eq!(
            faults(json!({"x": 1})),
            [
                "Additional properties are not allowed ('x' was unexpected)",
                r#""fields" is a required property"#,
            ]
        );
        assert_eq!(faults(json!({"fields": vec![1; 100]})).len(), FAULTS);
    }

    #[test]
    fn schemas_without_measure_are_none() {
        let doubled = |deep: usize| {
            let mut defs = serde_json::Map::new();
            for level in 0..deep {
                let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
                defs.insert(level.to_string(), json!({"allOf": [next, next]}));
            }
            defs.insert(deep.to_string(), json!({"type": "object"}));
            json!({"$defs": defs, "$ref": "#/$defs/0"})
        };
        assert!(read(&doubled(8)).is_ok());
        let long: Vec<String> = vec!["x".repeat(100); 4000];
        for (schema, says) in [
            (json!({"$ref": "#"}), "is recursive at \"#\""),
            (
                json!({"properties": {"a": {"$ref": "#/properties/a"}}}),
                "is recursive at \"#/properties/a\"",
            ),
            (
                json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}}}),
                "is recursive at",
            ),
            (doubled(20), "has more than 20000 parts"),
            (doubled(40), "has more than 32 references in a row"),
            (
                json!({"$ref": "#/$defs/x"}),
                "refers to \"#/$defs/x\", which",
            ),
            (
                json!({"$ref": "https://example.com/s"}),
                "refers to \"https://example.com/s\": refer to its own",
            ),
            (
                json!({"properties": {"a": {"$id": "https://example.com"}}}),
                "has a `$id` within",
            ),
            (json!({"$dynamicRef": "#x"}), "has `$dynamicRef`"),
            (json!({"enum": long}), "is 412"),
            (json!({"type": "text"}), "is no schema: /type: "),
            (json!({"pattern": "(a"}), "is no schema: "),
            (json!({"pattern": "a{1000}{1000}"}), "is no schema: "),
            (json!(7), "is no schema: "),
        ] {
            let error = read(&schema).err().unwrap_or_default();
            assert!(error.starts_with(says), "{schema}: {error}");
        }
        assert!(Schema::read("{").is_err());
        assert!(Schema::read(&"[".repeat(10_000)).is_err());
        // What only looks like a reference is a name.
        assert!(read(&json!({"properties": {"$ref": {"type": "string"}}})).is_ok());
    }
}
